"""Estimates for admission: how fast a model's workers are, and when to try again."""

from collections.abc import Iterable
from dataclasses import dataclass

from jobs.store import WorkerEntry

DEFAULT_RETRY_AFTER_S = 30.0


@dataclass(frozen=True)
class Speed:
    """Units per second with full batches."""

    all: float  # of all the model's workers, including those that may yet be started
    one: float  # of the fastest worker


def full_speed(workers: Iterable[WorkerEntry], model: str, max_workers: int) -> Speed | None:
    """Return the top speed of a model's workers, None if none is live or one is not measured.

    Workers yet to be started, up to ``max_workers``, count as ready and as fast as the fastest.
    """
    speeds = [worker.units_per_s for worker in workers if worker.model == model]
    if not speeds or min(speeds) <= 0:
        return None
    startable = max(0, max_workers - len(speeds))
    return Speed(sum(speeds) + startable * max(speeds), max(speeds))


def retry_after_s(workers: Iterable[WorkerEntry], model: str, units: float) -> float:
    """Return the seconds that the model's workers need for the units at their current rate."""
    rate = sum(worker.rows_per_s for worker in workers if worker.model == model)
    return max(1.0, units / rate) if rate > 0 else DEFAULT_RETRY_AFTER_S
