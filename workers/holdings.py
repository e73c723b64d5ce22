"""The jobs that a worker holds, and how one leaves."""

from collections.abc import Iterable

import structlog

from jobs.errors import JobsError
from jobs.schema import JobRecord
from workers.engine import Engine
from workers.metrics import Counters
from workers.run import Leaving, Run

log = structlog.get_logger()


class Holdings:
    """Every job here, by id, with the engine that draws them."""

    def __init__(self, model: str) -> None:
        self.runs: dict[str, Run] = {}
        self.counters = Counters(model)
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """The engine that draws these jobs."""
        assert self._engine is not None, "attach() comes first"
        return self._engine

    def attach(self, engine: Engine) -> None:
        """Draw with this engine."""
        self._engine = engine

    def lose(self, job_ids: Iterable[str]) -> None:
        """Let go of jobs that are another's now, or cancelled: nothing more is written of them."""
        for job_id in job_ids:
            run = self.runs.get(job_id)
            if run is not None and run.leaving != "lost":
                run.log.info("job is no longer ours")
                self.counters.departed("lost")
                self.depart(run, "lost")

    def depart(self, run: Run, reason: Leaving) -> None:
        """Let a job's pictures leave the engine; its report says when they have."""
        run.leaving = reason
        run.waiting.clear()
        self.engine.release(run.id)

    def close(self, run: Run, record: JobRecord | None) -> None:
        """Forget a job; ``record`` is its end, None where it goes on elsewhere."""
        run.ended = True
        self.runs.pop(run.id, None)
        run.attempt.end(str(run.leaving or "lost") if record is None else str(record.status))
        if record is not None:
            self.counters.ended(record)
            run.log.info("job ended", status=str(record.status))
        if not run.done.done():
            run.done.set_result(None)

    def trouble(self, error: JobsError) -> None:
        """Count and tell a fault of the store."""
        self.counters.trouble()
        log.warning("store in trouble", reason=str(error))
