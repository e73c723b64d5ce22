"""KEDA's own rules: waking from zero, cooling down to zero, and what a missing metric becomes.

Sources: KEDA's pages "ScaledObject specification" and "Scaling Deployments", the metrics-api and
Redis lists scalers, and, where they are silent, ``scale_scaledobjects.go`` (``RequestScale``,
``scaleToZeroOrIdle``) and ``fallback.go`` (``GetMetricsWithFallback``, ``doFallback``). KEDA takes
a target between zero and one; from one up the HPA that it makes does
(:mod:`tests.scaling.kubernetes.hpa`).
"""

from dataclasses import dataclass, replace

from tests.scaling.kubernetes.scaled_object import ScaledObject


@dataclass(frozen=True)
class Status:
    """What KEDA remembers of one ScaledObject."""

    created_s: float = 0.0
    last_active_s: float | None = None
    failures: int = 0  # of the metric, in a row


def active(value: float, scaled: ScaledObject) -> bool:
    """Return whether the trigger is active: its value is above the threshold, not at it."""
    return value > scaled.trigger.activation


def poll(
    status: Status, now_s: float, replicas: int, value: float | None, scaled: ScaledObject
) -> tuple[Status, int]:
    """Return what one turn of the polling loop remembers and how many replicas it sets.

    ``value`` None: the metric could not be had. The target is left as it is then, whether there
    is a fallback or not, but for one of zero replicas, which lets it cool down.
    """
    floor = scaled.min_replica_count
    if value is not None and active(value, scaled):
        asleep = replicas == 0 or (scaled.idle_replica_count is not None and replicas < floor)
        return replace(status, last_active_s=now_s), max(1, floor) if asleep else replicas
    if value is None and (scaled.fallback is None or scaled.fallback.replicas != 0):
        return status, replicas
    idle = scaled.idle_replica_count
    if (idle is not None and replicas > idle) or (replicas > 0 and floor == 0):
        resting = floor if idle is None else idle
        return status, resting if _cooled_down(status, now_s, scaled) else replicas
    return status, max(replicas, floor) if idle is None else replicas


def _cooled_down(status: Status, now_s: float, scaled: ScaledObject) -> bool:
    if status.last_active_s is None:
        return status.created_s + scaled.initial_cooldown_period < now_s
    return status.last_active_s + scaled.cooldown_period < now_s


def metric(
    status: Status, value: float | None, replicas: int, scaled: ScaledObject
) -> tuple[Status, float | None]:
    """Return what the HPA is told: the value, or after too many failures the fallback's.

    The fallback is a value that makes the HPA ask for the wanted number: target · replicas, of
    the target without its fraction.
    """
    if value is not None:
        return replace(status, failures=0), value
    status = replace(status, failures=status.failures + 1)
    fallback = scaled.fallback
    if fallback is None or status.failures <= fallback.failure_threshold:
        return status, None
    wanted = {
        "static": fallback.replicas,
        "currentReplicas": replicas,
        "currentReplicasIfHigher": max(replicas, fallback.replicas),
        "currentReplicasIfLower": min(replicas, fallback.replicas),
    }[fallback.behavior]
    return status, float(int(scaled.trigger.target) * wanted)
