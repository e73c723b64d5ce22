"""Golden cases of KEDA's rules, worked out from its documentation."""

import pytest

from tests.scaling.kubernetes.autoscaler import Autoscaler
from tests.scaling.kubernetes.keda import Status, metric, poll
from tests.scaling.kubernetes.test_hpa import worker


def test_a_trigger_is_active_above_its_threshold_not_at_it() -> None:
    scaled = worker(**{'activationTargetValue: "0"': 'activationTargetValue: "10"'})
    assert poll(Status(), 0, 0, 10.0, scaled)[1] == 0
    assert poll(Status(), 0, 0, 10.1, scaled)[1] == 1
    assert poll(Status(), 0, 0, 0.0, worker())[1] == 0


def test_waking_gives_the_minimum_or_one() -> None:
    assert poll(Status(), 0, 0, 1000.0, worker())[1] == 1, "from one up is the HPA's"
    least = worker(**{"minReplicaCount: 0": "minReplicaCount: 2"})
    assert poll(Status(), 0, 0, 1.0, least)[1] == 2
    assert poll(Status(), 0, 3, 1.0, worker())[1] == 3


def test_sleep_comes_a_cooldown_after_the_last_active_poll() -> None:
    status, replicas = poll(Status(), 100, 4, 5.0, worker())
    assert status.last_active_s == 100
    status, replicas = poll(status, 400, 4, 0.0, worker())
    assert replicas == 4, "exactly the cooldown is not past it"
    assert poll(status, 400.1, 4, 0.0, worker())[1] == 0, "from four at once"


def test_a_minimum_above_zero_is_never_left() -> None:
    least = worker(**{"minReplicaCount: 0": "minReplicaCount: 2"})
    assert poll(Status(), 9999, 2, 0.0, least)[1] == 2
    assert poll(Status(), 9999, 1, 0.0, least)[1] == 2


def test_idle_replicas_are_kept_in_place_of_the_minimum() -> None:
    scaled = worker(**{"minReplicaCount: 0": "minReplicaCount: 2\n  idleReplicaCount: 0"})
    status, _ = poll(Status(), 0, 3, 1.0, scaled)
    assert poll(status, 301, 3, 0.0, scaled)[1] == 0
    assert poll(status, 301, 0, 1.0, scaled)[1] == 2


def test_a_target_never_seen_active_cools_down_for_the_initial_period() -> None:
    scaled = worker(**{"cooldownPeriod: 300": "cooldownPeriod: 300\n  initialCooldownPeriod: 60"})
    assert poll(Status(created_s=0), 60, 1, 0.0, scaled)[1] == 1
    assert poll(Status(created_s=0), 61, 1, 0.0, scaled)[1] == 0


def test_an_unknown_metric_neither_wakes_nor_sends_to_sleep() -> None:
    assert poll(Status(), 9999, 0, None, worker())[1] == 0
    assert poll(Status(), 9999, 2, None, worker())[1] == 2


@pytest.mark.parametrize(
    ("behavior", "replicas", "expected"),
    [
        ("static", 4, 60.0),
        ("currentReplicas", 4, 120.0),
        ("currentReplicasIfHigher", 4, 120.0),
        ("currentReplicasIfHigher", 1, 60.0),
        ("currentReplicasIfLower", 4, 60.0),
        ("currentReplicasIfLower", 1, 30.0),
    ],
)
def test_the_fallback_comes_after_more_failures_than_the_threshold(
    behavior: str, replicas: int, expected: float
) -> None:
    scaled = worker(**{"    replicas: 2": f"    replicas: 2\n    behavior: {behavior}"})
    status = Status()
    for _ in range(3):
        status, value = metric(status, None, replicas, scaled)
        assert value is None
    status, value = metric(status, None, replicas, scaled)
    assert value == expected
    assert metric(status, 7.0, replicas, scaled) == (Status(failures=0), 7.0)


def test_both_loops_wake_grow_shrink_and_put_to_sleep() -> None:
    """Backlog of 200 s from 10 s to 100 s, nothing after: every change, at its time."""
    autoscaler = Autoscaler(worker(), sync_s=15)
    changes, replicas, now = [], 0, 0.0
    while now < 700:
        backlog = 200.0 if 10 <= now < 100 else 0.0
        wanted = autoscaler.turn(now, replicas, lambda value=backlog: value)  # type: ignore[misc]
        if wanted != replicas:
            changes.append((now, wanted))
        replicas, now = wanted, autoscaler.due_s
    assert changes == [
        (15.0, 1),  # the first poll that sees it
        (22.5, 4),  # the next sync: 7 wanted, 4 is the maximum
        (277.5, 3),  # 180 s after the last sync that wanted more, at 97.5 s
        (337.5, 2),  # one a minute
        (397.5, 1),
        (405.0, 0),  # the first poll more than 300 s after the last active one, at 90 s
    ]
