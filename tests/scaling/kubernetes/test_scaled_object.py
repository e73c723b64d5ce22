"""Reading a ScaledObject out of a rendered manifest."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from tests.scaling.kubernetes.scaled_object import ScaledObject, compressed, scaled_objects

WORKER = (Path(__file__).parent / "worker.yaml").read_text()


def worker() -> ScaledObject:
    return scaled_objects(WORKER)[0]


def test_what_the_manifest_says_is_read() -> None:
    scaled = worker()
    assert (scaled.polling_interval, scaled.cooldown_period) == (15, 300)
    assert (scaled.min_replica_count, scaled.max_replica_count, scaled.hpa_min) == (0, 4, 1)
    assert scaled.fallback is not None
    assert (scaled.fallback.failure_threshold, scaled.fallback.replicas) == (3, 2)
    assert (scaled.trigger.target, scaled.trigger.activation) == (30.0, 0.0)
    (up,) = scaled.behavior.scale_up.policies
    assert (up.type, up.value, up.period_seconds) == ("Pods", 4, 30)
    assert scaled.behavior.scale_down.stabilization_window_seconds == 180


def test_what_the_manifest_leaves_out_is_what_keda_and_kubernetes_take() -> None:
    trigger = {"type": "redis", "metadata": {"listName": "q", "listLength": "5"}}
    scaled = ScaledObject.model_validate({"scaleTargetRef": {"name": "w"}, "triggers": [trigger]})
    assert (scaled.polling_interval, scaled.cooldown_period) == (30, 300)
    assert (scaled.min_replica_count, scaled.max_replica_count) == (0, 100)
    up, down = scaled.behavior.scale_up, scaled.behavior.scale_down
    assert (up.stabilization_window_seconds, down.stabilization_window_seconds) == (0, 300)
    assert [(p.type, p.value, p.period_seconds) for p in up.policies] == [
        ("Pods", 4, 15),
        ("Percent", 100, 15),
    ]
    assert [(p.type, p.value) for p in down.policies] == [("Percent", 100)]
    assert up.select_policy == "Max"


def test_other_documents_are_passed_over() -> None:
    several = f"kind: Service\n---\n{WORKER}---\n# nothing\n---\n{WORKER}"
    assert scaled_objects(several) == (worker(), worker())


@pytest.mark.parametrize(
    ("before", "after", "named"),
    [
        ("pollingInterval", "polingInterval", "polingInterval"),
        ('targetValue: "30"', 'targetValue: "0"', "targetValue"),
        ("type: metrics-api", "type: cpu", "type"),
        ("maxReplicaCount: 4", "maxReplicaCount: 0", "maxReplicaCount"),
        ("periodSeconds: 30", "periodSeconds: 3600", "periodSeconds"),
        ("keda.sh/v1alpha1", "keda.sh/v2", "keda.sh/v2"),
        ("- type: metrics-api", "- type: metrics-api\n      metricType: Value", "metricType"),
    ],
)
def test_what_is_unknown_or_not_modelled_is_refused(before: str, after: str, named: str) -> None:
    with pytest.raises((ValidationError, ValueError), match=named):
        scaled_objects(WORKER.replace(before, after))


def test_compressed_time_divides_every_time_and_nothing_else() -> None:
    scaled = compressed(worker(), 10)
    assert (scaled.polling_interval, scaled.cooldown_period) == (1.5, 30)
    assert scaled.behavior.scale_down.stabilization_window_seconds == 18
    assert scaled.behavior.scale_down.policies[0].period_seconds == 6
    assert scaled.behavior.scale_down.policies[0].value == 1
    assert scaled.trigger.target == 3.0
    assert scaled.max_replica_count == 4
