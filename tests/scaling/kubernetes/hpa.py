"""The Horizontal Pod Autoscaler's rules for one external metric, as pure functions.

Sources: Kubernetes' page "Horizontal Pod Autoscaling" (algorithm details, configurable scaling
behavior) and, where it is silent, kube-controller-manager's ``replica_calculator.go``
(``GetExternalPerPodMetricReplicas``) and ``horizontal.go``
(``stabilizeRecommendationWithBehaviors``, ``convertDesiredReplicasWithBehaviorRate``). Readiness
plays no part: the rule for external metrics counts every replica the target has, started or not.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from tests.scaling.kubernetes.scaled_object import Behavior, Policy, Rules, ScaledObject

SYNC_S = 15.0
"""``--horizontal-pod-autoscaler-sync-period``."""
TOLERANCE = 0.1
"""``--horizontal-pod-autoscaler-tolerance``."""


@dataclass(frozen=True)
class Change:
    """A number of replicas at a time, recommended or added; removed ones are negative."""

    at_s: float
    replicas: int


@dataclass(frozen=True)
class History:
    """What the controller remembers of one autoscaler."""

    recommended: tuple[Change, ...] = ()
    changed: tuple[Change, ...] = ()


def desired(value: float, target: float, replicas: int) -> int:
    """Return ceil(value / target), or ``replicas`` where the ratio is within the tolerance.

    ``AverageValue`` semantics: the ratio compared to 1 is value / (target · replicas). Values and
    targets are counted in thousandths, as Kubernetes' quantities are.
    """
    milli_value, milli_target = int(value * 1000), int(target * 1000)
    if 1 - TOLERANCE <= milli_value / (milli_target * replicas) <= 1 + TOLERANCE:
        return replicas
    return math.ceil(milli_value / milli_target)


def stabilized(
    recommended: Sequence[Change], now_s: float, replicas: int, wanted: int, behavior: Behavior
) -> int:
    """Return the replicas between the lowest recent recommendation and the highest.

    Scaling up goes no higher than the lowest within the scale-up window, scaling down no lower
    than the highest within the scale-down window.
    """
    up_s, down_s = (
        rules.stabilization_window_seconds for rules in (behavior.scale_up, behavior.scale_down)
    )
    lowest = min([wanted, *_within(recommended, now_s, up_s)])
    highest = max([wanted, *_within(recommended, now_s, down_s)])
    return min(max(replicas, lowest), highest)


def _within(changes: Sequence[Change], now_s: float, window_s: float) -> list[int]:
    return [change.replicas for change in changes if change.at_s > now_s - window_s]


def limit_up(history: History, now_s: float, replicas: int, rules: Rules) -> int:
    """Return the most replicas that the scale-up policies allow now, at least ``replicas``."""
    return max(
        replicas,
        *(
            start + policy.value if policy.type == "Pods"
            else math.ceil(start * (1 + policy.value / 100))
            for policy, start in _period_starts(history, now_s, replicas, rules)
        ),
    )  # fmt: skip


def limit_down(history: History, now_s: float, replicas: int, rules: Rules) -> int:
    """Return the fewest replicas that the scale-down policies allow now, at most ``replicas``."""
    return min(
        replicas,
        *(
            start - policy.value if policy.type == "Pods"
            else int(start * (1 - policy.value / 100))
            for policy, start in _period_starts(history, now_s, replicas, rules)
        ),
    )  # fmt: skip


def _period_starts(
    history: History, now_s: float, replicas: int, rules: Rules
) -> Iterator[tuple[Policy, int]]:
    """Yield each policy with the replicas that there were when its current period began."""
    for policy in rules.policies:
        yield policy, replicas - sum(_within(history.changed, now_s, policy.period_seconds))


def sync(
    history: History, now_s: float, replicas: int, value: float | None, scaled: ScaledObject
) -> tuple[History, int]:
    """Return the controller's memory after one turn, and how many replicas it asks for.

    Nothing changes while the target has none (autoscaling is disabled then; KEDA wakes it) or
    while the metric is missing (``value`` None).
    """
    if not history.recommended:
        history = replace(history, recommended=(Change(now_s, replicas),))
    if replicas == 0:
        return history, 0
    least, most = scaled.hpa_min, scaled.max_replica_count
    if not least <= replicas <= most:
        return _changed(history, now_s, replicas, min(max(replicas, least), most))
    if value is None:
        return history, replicas
    wanted = desired(value, scaled.trigger.target, replicas)
    chosen = stabilized(history.recommended, now_s, replicas, wanted, scaled.behavior)
    recent = (change for change in history.recommended if change.at_s > now_s - 3600)
    history = replace(history, recommended=(*recent, Change(now_s, wanted)))
    if chosen > replicas:
        chosen = min(chosen, most, limit_up(history, now_s, replicas, scaled.behavior.scale_up))
    elif chosen < replicas:
        fewest = limit_down(history, now_s, replicas, scaled.behavior.scale_down)
        chosen = max(chosen, least, fewest)
    return _changed(history, now_s, replicas, chosen)


def _changed(history: History, now_s: float, before: int, after: int) -> tuple[History, int]:
    if after == before:
        return history, after
    return replace(history, changed=(*history.changed, Change(now_s, after - before))), after
