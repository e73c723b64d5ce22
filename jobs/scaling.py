"""The scaling signal: a model's remaining work over what one worker does in a second.

Every autoscaler reads this one number. It is in seconds, so that a target means the same for a
small model and a large one: ``ceil(backlog_s / target_s)`` workers end the work in ``target_s``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from jobs.catalogue import ModelEntry
from jobs.store import Backlog, JobStore, WorkerEntry

UNMEASURED_BACKLOG_S = 1.0
"""The backlog while work waits and nobody has measured a speed: it starts the worker that does."""


@dataclass(frozen=True)
class ScalingSignal:
    """What an autoscaler has to know of a model."""

    model: str
    backlog_s: float  # what one worker would need for all of it; 0 only when nothing is outstanding
    pending_units: float
    running_units: float  # what running jobs have left
    units_per_s: float  # of one worker with full batches; 0: nobody has measured it
    workers: int  # live ones
    cold_start_s: float  # from a worker's process to its engine's being ready; 0: not measured
    announced: bool = True  # False: no worker ever did, and the backlog is the reader's own


def scaling_signal(
    model: ModelEntry, backlog: Backlog, workers: Sequence[WorkerEntry]
) -> ScalingSignal:
    """Return the model's signal; ``workers`` may be those of all models."""
    live = [worker for worker in workers if worker.model == model.name]
    speed = units_per_s(model, live)
    return ScalingSignal(
        model.name,
        backlog_s(backlog, speed),
        backlog.pending_units,
        backlog.running_units,
        speed,
        len(live),
        model.cold_start_s,
    )


def unannounced_signal(
    model: str, backlog_s: float, workers: Sequence[WorkerEntry]
) -> ScalingSignal:
    """Return what to tell of a model that is not in the catalogue, so that a worker starts.

    Doors take no job for it, so it has no work; the first worker announces it, and the signal is
    the model's own from then on.
    """
    live = sum(worker.model == model for worker in workers)
    return ScalingSignal(model, backlog_s, 0.0, 0.0, 0.0, live, 0.0, announced=False)


def backlog_s(backlog: Backlog, units_per_s: float) -> float:
    """Return the seconds that one worker of this speed needs for all that is outstanding.

    A job whose last row is done still has its picture to store: work is a unit at least until
    the last job has ended.
    """
    if backlog.pending_jobs + backlog.running_jobs == 0:
        return 0.0
    return max(1.0, backlog.units) / units_per_s if units_per_s > 0 else UNMEASURED_BACKLOG_S


def units_per_s(model: ModelEntry, live: Sequence[WorkerEntry]) -> float:
    """Return what one worker of the model does with full batches, 0 where nobody has measured it.

    The mean of the live ones, else what the last one left in the catalogue. Last comes the pace
    of live ones with whatever they had to do: a worker with one picture looks slower than it is.
    """
    measured = [worker.units_per_s for worker in live if worker.units_per_s > 0]
    if measured:
        return fmean(measured)
    if model.units_per_s > 0:
        return model.units_per_s
    return fmean([worker.rows_per_s for worker in live if worker.rows_per_s > 0] or [0.0])


async def read_signal(store: JobStore, model: str) -> ScalingSignal | None:
    """Return a model's signal as the store has it now, None when no worker ever announced it.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    for entry in await store.models():
        if entry.name == model:
            return scaling_signal(entry, await store.backlog(model), await store.workers())
    return None
