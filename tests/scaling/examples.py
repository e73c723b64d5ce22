"""A ScaledObject for golden cases, with numbers of its own."""

from tests.scaling.kubernetes.scaled_object import (
    Behavior,
    Fallback,
    Policy,
    Rules,
    ScaledObject,
    Trigger,
)


def pods(value: int, period_s: float) -> Policy:
    return Policy(type="Pods", value=value, period_seconds=period_s)


def percent(value: int, period_s: float) -> Policy:
    return Policy(type="Percent", value=value, period_seconds=period_s)


def rules(*policies: Policy, window_s: float = 0.0) -> Rules:
    return Rules(stabilization_window_seconds=window_s, select_policy="Max", policies=policies)


def worker(*, least: int = 0, most: int = 4, activation: float = 0.0) -> ScaledObject:
    """Return an object that wants a replica for each 30 s of work."""
    return ScaledObject(
        scale_target_ref={"name": "worker"},
        polling_interval=15,
        cooldown_period=300,
        min_replica_count=least,
        max_replica_count=most,
        fallback=Fallback(failure_threshold=3, replicas=2, behavior="currentReplicasIfHigher"),
        behavior=Behavior(scale_up=rules(pods(4, 30)), scale_down=rules(pods(1, 60), window_s=180)),
        triggers=(Trigger(metadata={}),),
    ).with_target(30, activation)
