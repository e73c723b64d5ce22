"""The scaling signal: a model's remaining work divided by the throughput of one worker.

Every autoscaler reads this one number. It is in seconds, so a target means the same for small and
large models: ``ceil(backlog_s / target_s)`` workers finish the work in ``target_s``.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from jobs.catalogue import ModelEntry
from jobs.fleet import WorkerEntry
from jobs.store import Backlog, JobStore

UNMEASURED_BACKLOG_S = 1.0
"""The backlog while work waits and no speed is known: enough to start a worker that measures it."""


@dataclass(frozen=True)
class ScalingSignal:
    """What an autoscaler needs to know about a model."""

    model: str
    backlog_s: float  # one worker's time for all of it; 0 only when nothing is outstanding
    pending_units: float
    running_units: float  # what running jobs have left
    units_per_s: float  # of one worker with full batches; 0: not measured
    workers: int  # live ones
    cold_start_s: float  # from process start to a ready engine; 0: not measured
    announced: bool = True  # False: not by any worker; the backlog is one that the caller set


Others = Sequence[tuple[ModelEntry, Backlog]]


def scaling_signal(
    model: ModelEntry, backlog: Backlog, workers: Sequence[WorkerEntry], pool: Others = ()
) -> ScalingSignal:
    """Return the model's signal; ``workers`` may be those of all models.

    Workers of several models have one signal: the others of the ``pool`` are work for them, too,
    and so is loading a model that none of them has loaded.
    """
    live = [worker for worker in workers if worker.model == model.name]
    speed = units_per_s(model, live)
    return ScalingSignal(
        model.name,
        sum(_work_s(each, work, workers) for each, work in ((model, backlog), *pool)),
        backlog.pending_units,
        backlog.running_units,
        speed,
        len(live),
        model.cold_start_s,
    )


def _work_s(model: ModelEntry, backlog: Backlog, workers: Sequence[WorkerEntry]) -> float:
    live = [worker for worker in workers if worker.model == model.name]
    work_s = backlog_s(backlog, units_per_s(model, live))
    cold = bool(live) and not any(worker.loaded for worker in live)
    return work_s + (model.load_s if cold and backlog.pending_jobs else 0.0)


def unannounced_signal(
    model: str, backlog_s: float, workers: Sequence[WorkerEntry]
) -> ScalingSignal:
    """Return a signal for a model that is not in the catalogue, so that a worker starts.

    Doors accept no jobs for it, so it has no work. Once the first worker has announced it, the
    model has a signal of its own.
    """
    live = sum(worker.model == model for worker in workers)
    return ScalingSignal(model, backlog_s, 0.0, 0.0, 0.0, live, 0.0, announced=False)


def backlog_s(backlog: Backlog, units_per_s: float) -> float:
    """Return the seconds that one worker of this speed needs for all outstanding work.

    A job whose last row is done still has to store its image, so the work is at least one unit
    until the last job has ended.
    """
    if backlog.pending_jobs + backlog.running_jobs == 0:
        return 0.0
    return max(1.0, backlog.units) / units_per_s if units_per_s > 0 else UNMEASURED_BACKLOG_S


def units_per_s(model: ModelEntry, live: Sequence[WorkerEntry]) -> float:
    """Return the speed of one of the model's workers with full batches, 0 if it is unknown.

    It is the mean of the live workers, else the catalogue's figure from an earlier one, else the
    live workers' rate under their present load, which is too low where batches are not full.
    """
    measured = [worker.units_per_s for worker in live if worker.units_per_s > 0]
    if measured:
        return fmean(measured)
    if model.units_per_s > 0:
        return model.units_per_s
    return fmean([worker.rows_per_s for worker in live if worker.rows_per_s > 0] or [0.0])


async def read_signal(store: JobStore, model: str) -> ScalingSignal | None:
    """Return a model's current signal, None if no worker has ever announced the model.

    Raises:
        StoreUnavailable: the store does not answer.
    """
    models = await store.models()
    for entry in models:
        if entry.name == model:
            pool = await pool_of(entry, models, store.backlog)
            return scaling_signal(entry, await store.backlog(model), await store.workers(), pool)
    return None


async def pool_of(
    model: ModelEntry,
    models: Sequence[ModelEntry],
    backlog: Callable[[str], Awaitable[Backlog]],
) -> Others:
    """Return the other models of the same workers, with their work."""
    return [(each, await backlog(each.name)) for each in others(model, models)]


def others(model: ModelEntry, models: Sequence[ModelEntry]) -> list[ModelEntry]:
    """Return the other models of the same workers."""
    return [each for each in models if each.name in model.pool and each.name != model.name]
