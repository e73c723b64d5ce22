"""The Horizontal Pod Autoscaler's rules for one external metric, as pure functions.

Sources: Kubernetes' page "Horizontal Pod Autoscaling" (algorithm details, configurable scaling
behavior) and, where it is silent, kube-controller-manager's ``replica_calculator.go``
(``GetExternalPerPodMetricReplicas``) and ``horizontal.go``
(``stabilizeRecommendationWithBehaviors``, ``convertDesiredReplicasWithBehaviorRate``). Readiness
plays no part: the rule for external metrics counts every replica the target has, started or not.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from tests.scaling.kubernetes.scaled_object import Policy, Rules, ScaledObject

SYNC_S = 15.0
"""``--horizontal-pod-autoscaler-sync-period``."""
TOLERANCE = 0.1
"""``--horizontal-pod-autoscaler-tolerance``."""


@dataclass(frozen=True)
class Change:
    """A number of replicas, recommended, added or removed at a time."""

    at_s: float
    replicas: int


@dataclass(frozen=True)
class History:
    """What the controller remembers of one autoscaler."""

    recommended: tuple[Change, ...] = ()
    added: tuple[Change, ...] = ()
    removed: tuple[Change, ...] = ()


def desired(value: float, target: float, replicas: int, up: Rules, down: Rules) -> int:
    """Return ceil(value / target), or ``replicas`` where the ratio is within the tolerances.

    ``AverageValue`` semantics: the ratio compared to 1 is value / (target · replicas). Values and
    targets are counted in thousandths, as Kubernetes' quantities are.
    """
    milli_value, milli_target = int(value * 1000), int(target * 1000)
    ratio = milli_value / (milli_target * replicas)
    below = TOLERANCE if down.tolerance is None else down.tolerance
    above = TOLERANCE if up.tolerance is None else up.tolerance
    if 1 - below <= ratio <= 1 + above:
        return replicas
    return math.ceil(milli_value / milli_target)


def stabilized(
    recommended: Sequence[Change], now_s: float, replicas: int, wanted: int, up: Rules, down: Rules
) -> int:
    """Return the replicas between the lowest recent recommendation and the highest.

    Scaling up goes no higher than the lowest within the scale-up window, scaling down no lower
    than the highest within the scale-down window.
    """
    lowest = min([wanted, *_within(recommended, now_s, up.stabilization_window_seconds)])
    highest = max([wanted, *_within(recommended, now_s, down.stabilization_window_seconds)])
    return min(max(replicas, lowest), highest)


def _within(changes: Sequence[Change], now_s: float, window_s: float | None) -> list[int]:
    return [change.replicas for change in changes if change.at_s > now_s - (window_s or 0.0)]


def limit_up(history: History, now_s: float, replicas: int, rules: Rules) -> int:
    """Return the most replicas that the scale-up policies allow now, at least ``replicas``."""
    if rules.select_policy == "Disabled":
        return replicas
    proposals = []
    for policy in rules.policies:
        start = _at_period_start(history, now_s, replicas, policy)
        grown = start * (1 + policy.value / 100)
        proposals.append(start + policy.value if policy.type == "Pods" else math.ceil(grown))
    return max(replicas, (min if rules.select_policy == "Min" else max)(proposals))


def limit_down(history: History, now_s: float, replicas: int, rules: Rules) -> int:
    """Return the fewest replicas that the scale-down policies allow now, at most ``replicas``."""
    if rules.select_policy == "Disabled":
        return replicas
    proposals = []
    for policy in rules.policies:
        start = _at_period_start(history, now_s, replicas, policy)
        shrunk = start * (1 - policy.value / 100)
        proposals.append(start - policy.value if policy.type == "Pods" else int(shrunk))
    return min(replicas, (max if rules.select_policy == "Min" else min)(proposals))


def _at_period_start(history: History, now_s: float, replicas: int, policy: Policy) -> int:
    since = policy.period_seconds
    added = sum(_within(history.added, now_s, since))
    return replicas - added + sum(_within(history.removed, now_s, since))


def sync(
    history: History, now_s: float, replicas: int, value: float | None, scaled: ScaledObject
) -> tuple[History, int]:
    """Return what one turn of the controller remembers and how many replicas it asks for.

    Nothing changes while the target has none (autoscaling is disabled then; KEDA wakes it) or
    while the metric cannot be had (``value`` None).
    """
    if not history.recommended:
        history = replace(history, recommended=(Change(now_s, replicas),))
    if replicas == 0:
        return history, 0
    least, most = scaled.hpa_min, scaled.max_replica_count
    if not least <= replicas <= most:
        return _remember(history, now_s, replicas, min(max(replicas, least), most))
    if value is None:
        return history, replicas
    up, down = scaled.behavior.scale_up, scaled.behavior.scale_down
    wanted = desired(value, scaled.trigger.target, replicas, up, down)
    chosen = stabilized(history.recommended, now_s, replicas, wanted, up, down)
    history = replace(history, recommended=(*_recent(history, now_s), Change(now_s, wanted)))
    if chosen > replicas:
        chosen = min(chosen, most, limit_up(history, now_s, replicas, up))
    elif chosen < replicas:
        chosen = max(chosen, least, limit_down(history, now_s, replicas, down))
    return _remember(history, now_s, replicas, chosen)


def _recent(history: History, now_s: float) -> tuple[Change, ...]:
    return tuple(change for change in history.recommended if change.at_s > now_s - 3600)


def _remember(history: History, now_s: float, before: int, after: int) -> tuple[History, int]:
    if after > before:
        history = replace(history, added=(*history.added, Change(now_s, after - before)))
    elif after < before:
        history = replace(history, removed=(*history.removed, Change(now_s, before - after)))
    return history, after
