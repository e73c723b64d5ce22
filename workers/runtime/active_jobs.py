"""The jobs that a worker holds, and how one leaves."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

import structlog

from jobs.errors import TransientStoreError
from jobs.schema import JobRecord
from workers.engine.engine import Engine
from workers.ops.metrics import Counters
from workers.runtime.run import Leaving, Run

log = structlog.get_logger()
T = TypeVar("T")


class Neighbours:
    """The jobs of all of a worker's models: one that may kill workers runs alone."""

    def __init__(self) -> None:
        self._runs: dict[Callable[[], None], Mapping[str, Run]] = {}

    def add(self, fill: Callable[[], None], runs: Mapping[str, Run]) -> None:
        """Add a model's jobs; ``fill`` is called when a claim may have waited for another's."""
        self._runs[fill] = runs

    def remove(self, fill: Callable[[], None]) -> None:
        """Remove the jobs of a model that is unloaded."""
        self._runs.pop(fill, None)

    @property
    def idle(self) -> bool:
        """Whether there is no job."""
        return not any(self._runs.values())

    @property
    def alone(self) -> bool:
        """Whether a job is here that runs alone."""
        return any(run.claim.alone for runs in self._runs.values() for run in runs.values())

    def left(self) -> None:
        """Have claims look again that may have waited for a job that has left."""
        for fill in list(self._runs):
            fill()


class ActiveJobs:
    """Every job here, by id, with the engine that draws them."""

    def __init__(self, engine: Engine, counters: Counters) -> None:
        self.runs: dict[str, Run] = {}
        self.engine = engine
        self.counters = counters
        self.failures = 0  # jobs that failed since the last finished image

    def lose(self, runs: Iterable[Run]) -> None:
        """Release jobs that have another claim now or have ended; nothing more is written.

        A job may be back already: the store's answer is about the run that asked, not about the id.
        """
        for run in runs:
            if run.ended or run.leaving == "lost":
                continue
            run.log.info("job lease lost")
            self.counters.departed("lost")
            if run.leaving is None:
                self.release(run, "lost")
            run.leaving = "lost"

    def release(self, run: Run, reason: Leaving) -> None:
        """Let a job's images leave the engine, which reports when they have."""
        run.leaving = reason
        run.waiting.clear()
        self.engine.release(run.id)

    def close(self, run: Run, record: JobRecord | None) -> None:
        """Forget a job; ``record`` is how it ended, None if another worker continues it.

        It has not ended where this worker has only helped with it.
        """
        run.ended = True
        self.runs.pop(run.id, None)
        helped = record is not None and not record.status.ended
        if record is None or helped:
            run.attempt.end("helped" if helped else str(run.leaving or "lost"))
        else:
            run.attempt.end(str(record.status))
            self.counters.ended(record)
            run.log.info("job ended", status=str(record.status))
        if not run.done.done():
            run.done.set_result(None)

    def store_failed(self, error: TransientStoreError) -> None:
        """Count and log a failed call to the store."""
        self.counters.redis_errors.inc()
        log.warning("store call failed", reason=str(error))

    async def retried(self, call: Callable[[], Awaitable[T]], wanted: Callable[[], bool]) -> T:
        """Call the store until it answers, for as long as that is wanted.

        Raises:
            TransientStoreError: the last error, once the answer is no longer wanted.
        """
        pause_s = 0.05
        while True:
            try:
                return await call()
            except TransientStoreError as error:
                self.store_failed(error)
                if not wanted():
                    raise
            await asyncio.sleep(pause_s)
            pause_s = min(1.0, 2 * pause_s)
