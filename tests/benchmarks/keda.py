"""Scaling on remaining work beside scaling on the length of the queue's list.

KEDA's and the HPA's rules with the settings of the shipped ScaledObject, in virtual time over many
loads. It is no cluster.
"""

from collections.abc import Sequence
from statistics import fmean
from typing import Any

from tests.benchmarks.engine.policy import Cost
from tests.benchmarks.figures import quantile
from tests.scaling.kubernetes.autoscaler import Autoscaler
from tests.scaling.kubernetes.scaled_object import shipped
from tests.scaling.load import Order, drawn
from tests.scaling.simulation import (
    Kind,
    Measure,
    Outcome,
    Simulation,
    by_list_length,
    by_work,
)

SEEDS = 100
KIND = Kind(Cost(0.05, 0.15), rows_per_tick=8, slots=16, cold_start_s=60)
"""50 ms a forward pass and 150 ms a row: a 25-step guided image takes 8.7 s alone."""
TARGETS_S = (15, 30, 45, 60, 90, 120, 180, 240)
LIST_LENGTHS = (1, 2, 5, 10)
"""Messages a replica in a Redis lists trigger; 5 is KEDA's default."""


def target_s(order: Order) -> float:
    """Return the latency target: a minute and a half and twice what the work takes one worker."""
    return 90 + 2 * order.units / KIND.units_per_s


def figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return means over runs."""
    latencies = [[taken for _, taken in outcome.latency] for outcome in outcomes]
    return {
        "attainment": round(fmean(o.attainment(target_s) for o in outcomes), 4),
        "worker_s": round(fmean(o.worker_s for o in outcomes)),
        "p95_s": round(fmean(quantile(taken, 0.95) for taken in latencies), 1),
        "worst_s": round(fmean(max(taken) for taken in latencies), 1),
        "jobs_given_back": round(fmean(o.drained for o in outcomes), 2),
        "starts": round(fmean(o.starts for o in outcomes), 2),
    }


def measure() -> dict[str, Any]:
    """Return means over many loads, by target in seconds of work and by length of the list."""
    loads = [drawn(seed) for seed in range(SEEDS)]
    scaled = shipped()

    def run(target: float, measure: Measure) -> dict[str, float]:
        one = scaled.with_target(target)
        return figures([Simulation(x, KIND).scaled(Autoscaler(one), measure) for x in loads])

    return {
        "target_backlog_s": scaled.trigger.target,
        "slots": KIND.slots,
        "loads": SEEDS,
        "by_work_target_s": {f"{seconds}": run(seconds, by_work) for seconds in TARGETS_S},
        "by_list_length": {f"{n}": run(n, by_list_length) for n in LIST_LENGTHS},
    }
