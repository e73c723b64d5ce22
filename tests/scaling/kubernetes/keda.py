"""KEDA's own rules: waking from zero, cooling down to zero, and the fallback of a missing metric.

Sources: KEDA's pages "ScaledObject specification" and "Scaling Deployments", the metrics-api and
Redis lists scalers, and, where they are silent, ``scale_scaledobjects.go`` (``RequestScale``,
``scaleToZeroOrIdle``) and ``fallback.go`` (``GetMetricsWithFallback``, ``doFallback``). KEDA takes
a target between zero and one; from one up the HPA that it makes does
(:mod:`tests.scaling.kubernetes.hpa`).
"""

import math
from dataclasses import dataclass, replace

from tests.scaling.kubernetes.scaled_object import ScaledObject


@dataclass(frozen=True)
class Status:
    """What KEDA remembers of one ScaledObject."""

    last_active_s: float = -math.inf
    failures: int = 0  # of the metric, in a row


def poll(
    status: Status, now_s: float, replicas: int, value: float | None, scaled: ScaledObject
) -> tuple[Status, int]:
    """Return the status after one turn of the polling loop, and how many replicas it sets.

    The trigger is active above its threshold, not at it. ``value`` None: the metric is missing,
    and the target is left as it is.
    """
    least = scaled.min_replica_count
    if value is None:
        return status, replicas
    if value > scaled.trigger.activation:
        return replace(status, last_active_s=now_s), replicas or max(1, least)
    if replicas > 0 and least == 0:
        return status, 0 if now_s > status.last_active_s + scaled.cooldown_period else replicas
    return status, max(replicas, least)


def metric(
    status: Status, value: float | None, replicas: int, scaled: ScaledObject
) -> tuple[Status, float | None]:
    """Return the value for the HPA: the metric's, or after too many failures the fallback's.

    The fallback is a value that makes the HPA ask for the wanted number: target · replicas, of
    the target without its fraction.
    """
    if value is not None:
        return replace(status, failures=0), value
    status = replace(status, failures=status.failures + 1)
    if status.failures <= scaled.fallback.failure_threshold:
        return status, None
    return status, float(int(scaled.trigger.target) * max(replicas, scaled.fallback.replicas))
