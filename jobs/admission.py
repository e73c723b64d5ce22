"""What admission has to know of the workers: how fast they are, and when a place is free again."""

from collections.abc import Iterable
from dataclasses import dataclass

from jobs.store import WorkerEntry

DEFAULT_RETRY_AFTER_S = 30.0


@dataclass(frozen=True)
class Speed:
    """Units a second with full batches."""

    all: float  # of the model's workers together, those that may be started among them
    one: float  # of the fastest


def full_speed(workers: Iterable[WorkerEntry], model: str, max_workers: int) -> Speed | None:
    """Return the most that a model's workers can do, None where one is not measured or none lives.

    Of ``max_workers`` those that do not live yet count as fast as the fastest, and as ready: one
    that was started before may be.
    """
    speeds = [worker.units_per_s for worker in workers if worker.model == model]
    if not speeds or min(speeds) <= 0:
        return None
    startable = max(0, max_workers - len(speeds))
    return Speed(sum(speeds) + startable * max(speeds), max(speeds))


def retry_after_s(workers: Iterable[WorkerEntry], model: str, units: float) -> float:
    """Return the seconds in which the model's workers do these units at their present pace."""
    pace = sum(worker.rows_per_s for worker in workers if worker.model == model)
    return max(1.0, units / pace) if pace > 0 else DEFAULT_RETRY_AFTER_S
