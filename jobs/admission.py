"""What admission has to know of the workers: how fast they are, and when a place is free again."""

from collections.abc import Iterable
from dataclasses import dataclass

from jobs.errors import LargerThanQuota, QuotaExceeded
from jobs.store import WorkerEntry

DEFAULT_RETRY_AFTER_S = 30.0


@dataclass(frozen=True)
class Speed:
    """Units a second with full batches."""

    all: float  # of the model's live workers together
    one: float  # of the fastest


def full_speed(workers: Iterable[WorkerEntry], model: str) -> Speed | None:
    """Return the most that a model's live workers can do, None where one is not measured."""
    speeds = [worker.units_per_s for worker in workers if worker.model == model]
    return Speed(sum(speeds), max(speeds)) if speeds and min(speeds) > 0 else None


def retry_after_s(workers: Iterable[WorkerEntry], model: str, units: float) -> float:
    """Return the seconds in which the model's workers do these units at their present pace."""
    pace = sum(worker.rows_per_s for worker in workers if worker.model == model)
    return max(1.0, units / pace) if pace > 0 else DEFAULT_RETRY_AFTER_S


def over_quota(
    tenant: str, units: float, quota: float, outstanding: float, wait_s: float
) -> QuotaExceeded | LargerThanQuota:
    """Return the refusal of a job of so many units."""
    if units > quota:
        return LargerThanQuota(tenant, quota, units)
    return QuotaExceeded(tenant, quota, outstanding, wait_s)
