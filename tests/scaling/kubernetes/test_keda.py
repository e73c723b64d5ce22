"""Golden cases of KEDA's rules, worked out from its documentation."""

import pytest
from pydantic import ValidationError

from tests.scaling.examples import worker
from tests.scaling.kubernetes.autoscaler import Autoscaler
from tests.scaling.kubernetes.keda import Status, metric, poll
from tests.scaling.kubernetes.scaled_object import MANIFEST, scaled_object


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("pollingInterval", "polingInterval"),
        ("type: metrics-api", "type: cpu"),
        ("selectPolicy: Max", "selectPolicy: Min"),
        ("metricType: AverageValue", "metricType: Value"),
        ("  minReplicaCount: 0", "  minReplicaCount: 0\n  idleReplicaCount: 0"),
    ],
)
def test_an_object_with_a_field_that_is_not_modelled_is_refused(before: str, after: str) -> None:
    with pytest.raises(ValidationError):
        scaled_object(MANIFEST.read_text().replace(before, after))


def test_a_trigger_is_active_above_its_threshold_not_at_it() -> None:
    scaled = worker(activation=10.0)
    assert poll(Status(), 0, 0, 10.0, scaled)[1] == 0
    assert poll(Status(), 0, 0, 10.1, scaled)[1] == 1
    assert poll(Status(), 0, 0, 0.0, worker())[1] == 0


def test_waking_gives_the_minimum_or_one() -> None:
    assert poll(Status(), 0, 0, 1000.0, worker())[1] == 1, "from one up is the HPA's"
    assert poll(Status(), 0, 0, 1.0, worker(least=2))[1] == 2
    assert poll(Status(), 0, 3, 1.0, worker())[1] == 3


def test_sleep_comes_a_cooldown_after_the_last_active_poll() -> None:
    status, _ = poll(Status(), 100, 4, 5.0, worker())
    assert status.last_active_s == 100
    assert poll(status, 400, 4, 0.0, worker())[1] == 4, "exactly the cooldown is not past it"
    assert poll(status, 400.1, 4, 0.0, worker())[1] == 0, "from four at once"


def test_a_minimum_above_zero_is_never_left() -> None:
    assert poll(Status(), 9999, 2, 0.0, worker(least=2))[1] == 2
    assert poll(Status(), 9999, 1, 0.0, worker(least=2))[1] == 2


def test_an_unknown_metric_neither_wakes_nor_sends_to_sleep() -> None:
    assert poll(Status(), 9999, 0, None, worker())[1] == 0
    assert poll(Status(), 9999, 2, None, worker())[1] == 2


@pytest.mark.parametrize(("replicas", "expected"), [(4, 120.0), (1, 60.0)])
def test_the_fallback_comes_after_more_failures_than_the_threshold(
    replicas: int, expected: float
) -> None:
    status = Status()
    for _ in range(3):
        status, value = metric(status, None, replicas, worker())
        assert value is None
    status, value = metric(status, None, replicas, worker())
    assert value == expected
    assert metric(status, 7.0, replicas, worker()) == (Status(failures=0), 7.0)


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
