"""Golden cases of the Horizontal Pod Autoscaler's rules, worked out from its documentation."""

import pytest

from tests.scaling.examples import percent, pods, rules, worker
from tests.scaling.kubernetes.hpa import (
    Change,
    History,
    desired,
    limit_down,
    limit_up,
    stabilized,
    sync,
)
from tests.scaling.kubernetes.scaled_object import Behavior, compressed


@pytest.mark.parametrize(
    ("value", "replicas", "expected"),
    [
        (100.0, 1, 4),  # ceil(100 / 30)
        (90.0, 1, 3),  # exactly
        (90.001, 1, 4),
        (0.0, 3, 0),  # the HPA's minimum comes later
        (66.0, 2, 2),  # 33 a replica: ratio 1.1, within a tenth
        (66.1, 2, 3),  # just past it
        (54.0, 2, 2),  # ratio 0.9
        (53.9, 2, 2),  # past it, and ceil(53.9 / 30) is 2 again
        (61.0, 3, 3),  # ceil(61 / 30)
        (59.0, 3, 2),
        (1e12, 1, 33_333_333_334),
    ],
)
def test_average_value(value: float, replicas: int, expected: int) -> None:
    assert desired(value, 30.0, replicas) == expected


def test_scaling_down_waits_for_the_highest_recommendation_of_its_window() -> None:
    behavior = Behavior(scale_up=rules(), scale_down=rules(window_s=300))
    seen = [Change(0, 4), Change(100, 2), Change(200, 1)]
    assert stabilized(seen, 299, 4, 1, behavior) == 4
    assert stabilized(seen, 300, 4, 1, behavior) == 2, "300 s old is out of the window"
    assert stabilized(seen, 401, 4, 1, behavior) == 1


def test_scaling_up_waits_for_the_lowest_recommendation_of_its_window() -> None:
    behavior = Behavior(scale_up=rules(window_s=60), scale_down=rules())
    seen = [Change(0, 1), Change(30, 3)]
    assert stabilized(seen, 45, 1, 5, behavior) == 1
    assert stabilized(seen, 61, 1, 5, behavior) == 3
    assert stabilized(seen, 91, 1, 5, behavior) == 5


@pytest.mark.parametrize(("replicas", "most"), [(1, 5), (10, 20), (21, 42)])
def test_the_most_that_scale_up_policies_allow(replicas: int, most: int) -> None:
    assert limit_up(History(), 0, replicas, rules(pods(4, 60), percent(100, 60))) == most


@pytest.mark.parametrize(("replicas", "fewest"), [(80, 72), (20, 16)])
def test_the_fewest_that_scale_down_policies_allow(replicas: int, fewest: int) -> None:
    assert limit_down(History(), 0, replicas, rules(pods(4, 60), percent(10, 60))) == fewest


def test_a_percentage_rounds_in_favour_of_moving() -> None:
    assert limit_up(History(), 0, 1, rules(percent(10, 60))) == 2
    assert limit_down(History(), 0, 5, rules(percent(10, 60))) == 4


def test_changes_within_the_period_count_against_the_policy() -> None:
    two_a_minute = rules(pods(2, 60))
    history = History(changed=(Change(0, 1), Change(30, 1)))
    assert limit_up(history, 59, 3, two_a_minute) == 3, "both of the two are used"
    assert limit_up(history, 60, 3, two_a_minute) == 4, "the first is a period old"
    assert limit_up(history, 90, 3, two_a_minute) == 5
    history = History(changed=(Change(10, -2),))
    assert limit_down(history, 20, 3, two_a_minute) == 3
    assert limit_down(history, 70, 3, two_a_minute) == 1


def test_a_turn_of_the_controller_is_bounded_by_policy_minimum_and_maximum() -> None:
    history, replicas = History(), 1
    for now_s, value, expected in (
        (0, 1000.0, 4),  # 34 wanted, 5 allowed by policy, 4 by maxReplicaCount
        (15, 0.0, 4),  # stabilised: 34 was recommended 15 s ago
        (181, 0.0, 3),  # one pod a minute
        (200, 0.0, 3),
        (241, 0.0, 2),
        (301, 0.0, 1),
        (361, 0.0, 1),  # the last one is KEDA's to take
    ):
        history, replicas = sync(history, now_s, replicas, value, worker())
        assert replicas == expected, now_s


def test_without_a_metric_and_at_zero_nothing_moves() -> None:
    history, replicas = sync(History(), 0, 3, None, worker())
    assert replicas == 3
    assert sync(history, 15, 0, 1000.0, worker())[1] == 0


def test_replicas_out_of_bounds_are_brought_back_at_once() -> None:
    assert sync(History(), 0, 9, 1000.0, worker())[1] == 4
    assert sync(History(), 0, 1, 0.0, worker(least=2))[1] == 2


def test_compressed_time_divides_every_time_and_nothing_else() -> None:
    scaled = compressed(worker(), 10)
    assert (scaled.polling_interval, scaled.cooldown_period) == (1.5, 30)
    down = scaled.behavior.scale_down
    assert (down.stabilization_window_seconds, down.policies) == (18, (pods(1, 6),))
    assert (scaled.trigger.target, scaled.max_replica_count) == (3.0, 4)
