"""Golden cases of the Horizontal Pod Autoscaler's rules, worked out from its documentation."""

import pytest

from tests.scaling.kubernetes.hpa import (
    Change,
    History,
    desired,
    limit_down,
    limit_up,
    stabilized,
    sync,
)
from tests.scaling.kubernetes.scaled_object import Policy, Rules, ScaledObject, scaled_objects
from tests.scaling.kubernetes.test_scaled_object import WORKER

PLAIN = Rules(stabilization_window_seconds=0)


def worker(**replaced: str) -> ScaledObject:
    manifest = WORKER
    for before, after in replaced.items():
        manifest = manifest.replace(before, after)
    return scaled_objects(manifest)[0]


@pytest.mark.parametrize(
    ("value", "target", "replicas", "expected"),
    [
        (100.0, 30.0, 1, 4),  # ceil(100 / 30)
        (90.0, 30.0, 1, 3),  # exactly
        (90.001, 30.0, 1, 4),
        (0.0, 30.0, 3, 0),  # the HPA's minimum comes later
        (66.0, 30.0, 2, 2),  # 33 a replica: ratio 1.1, within a tenth
        (66.1, 30.0, 2, 3),  # just past it
        (54.0, 30.0, 2, 2),  # ratio 0.9
        (53.9, 30.0, 2, 2),  # past it, and ceil(53.9 / 30) is 2 again
        (61.0, 30.0, 3, 3),  # ceil(61 / 30)
        (59.0, 30.0, 3, 2),
        (1e12, 30.0, 1, 33_333_333_334),
    ],
)
def test_average_value(value: float, target: float, replicas: int, expected: int) -> None:
    assert desired(value, target, replicas, PLAIN, PLAIN) == expected


def test_a_tolerance_of_ones_own_replaces_the_tenth() -> None:
    tight = Rules(stabilization_window_seconds=0, tolerance=0.0)
    assert desired(66.0, 30.0, 2, tight, PLAIN) == 3
    assert desired(60.0, 30.0, 2, tight, tight) == 2


def test_scaling_down_waits_for_the_highest_recommendation_of_its_window() -> None:
    down = Rules(stabilization_window_seconds=300)
    seen = [Change(0, 4), Change(100, 2), Change(200, 1)]
    assert stabilized(seen, 299, 4, 1, PLAIN, down) == 4
    assert stabilized(seen, 300, 4, 1, PLAIN, down) == 2, "300 s old is out of the window"
    assert stabilized(seen, 401, 4, 1, PLAIN, down) == 1


def test_scaling_up_waits_for_the_lowest_recommendation_of_its_window() -> None:
    up, down = Rules(stabilization_window_seconds=60), Rules(stabilization_window_seconds=0)
    seen = [Change(0, 1), Change(30, 3)]
    assert stabilized(seen, 45, 1, 5, up, down) == 1
    assert stabilized(seen, 61, 1, 5, up, down) == 3
    assert stabilized(seen, 91, 1, 5, up, down) == 5


def pods(value: int, period_s: float) -> Policy:
    return Policy(type="Pods", value=value, period_seconds=period_s)


def percent(value: int, period_s: float) -> Policy:
    return Policy(type="Percent", value=value, period_seconds=period_s)


@pytest.mark.parametrize(
    ("select", "replicas", "expected"),
    [("Max", 1, 5), ("Max", 10, 20), ("Min", 1, 2), ("Min", 10, 14), ("Disabled", 10, 10)],
)
def test_the_most_that_scale_up_policies_allow(select: str, replicas: int, expected: int) -> None:
    rules = Rules.model_validate({"select_policy": select}).filled(
        0, (pods(4, 60), percent(100, 60))
    )
    assert limit_up(History(), 0, replicas, rules) == expected


@pytest.mark.parametrize(
    ("select", "replicas", "expected"),
    [
        ("Max", 80, 72),  # ten per cent of 80 is more than four
        ("Max", 20, 16),  # four are more than ten per cent
        ("Min", 80, 76),
        ("Min", 20, 18),
        ("Disabled", 80, 80),
    ],
)
def test_the_fewest_that_scale_down_policies_allow(
    select: str, replicas: int, expected: int
) -> None:
    rules = Rules.model_validate({"select_policy": select}).filled(
        0, (pods(4, 60), percent(10, 60))
    )
    assert limit_down(History(), 0, replicas, rules) == expected


def test_a_percentage_rounds_in_favour_of_moving() -> None:
    assert limit_up(History(), 0, 1, PLAIN.filled(0, (percent(10, 60),))) == 2
    assert limit_down(History(), 0, 5, PLAIN.filled(0, (percent(10, 60),))) == 4


def test_what_moved_within_the_period_counts_against_the_policy() -> None:
    rules = PLAIN.filled(0, (pods(2, 60),))
    history = History(added=(Change(0, 1), Change(30, 1)))
    assert limit_up(history, 59, 3, rules) == 3, "both of the two are used"
    assert limit_up(history, 60, 3, rules) == 4, "the first is a period old"
    assert limit_up(history, 90, 3, rules) == 5
    assert limit_down(History(removed=(Change(10, 2),)), 20, 3, rules) == 3
    assert limit_down(History(removed=(Change(10, 2),)), 70, 3, rules) == 1


def test_a_controllers_turn_bounds_by_policy_minimum_and_maximum() -> None:
    scaled = worker()
    history, replicas = sync(History(), 0, 1, 1000.0, scaled)
    assert replicas == 4, "34 wanted, 5 allowed by policy, 4 by maxReplicaCount"
    history, replicas = sync(history, 15, 4, 0.0, scaled)
    assert replicas == 4, "stabilised: 34 was recommended 15 s ago"
    history, replicas = sync(history, 181, 4, 0.0, scaled)
    assert replicas == 3, "one pod a minute"
    history, replicas = sync(history, 200, 3, 0.0, scaled)
    assert replicas == 3
    history, replicas = sync(history, 241, 3, 0.0, scaled)
    assert replicas == 2
    history, replicas = sync(history, 301, 2, 0.0, scaled)
    history, replicas = sync(history, 361, 1, 0.0, scaled)
    assert replicas == 1, "the last one is KEDA's to take"


def test_without_a_metric_and_at_zero_nothing_moves() -> None:
    history, replicas = sync(History(), 0, 3, None, worker())
    assert replicas == 3
    assert sync(history, 15, 0, 1000.0, worker())[1] == 0


def test_replicas_out_of_bounds_are_brought_back_at_once() -> None:
    assert sync(History(), 0, 9, 1000.0, worker())[1] == 4
    least = worker(**{"minReplicaCount: 0": "minReplicaCount: 2"})
    assert sync(History(), 0, 1, 0.0, least)[1] == 2
