"""The sweep that workers and doors run: expired leases, deadlines, lost rings."""

import asyncio
from collections.abc import Callable

import structlog

from jobs.errors import TransientStoreError
from jobs.queue import Doorbell
from jobs.store import JobStore, Swept

log = structlog.get_logger()


class Sweeper:
    """Sweeps the store and rings for jobs that wait without a ring."""

    def __init__(self, store: JobStore, doorbell: Doorbell) -> None:
        self._store = store
        self._doorbell = doorbell
        self._short: dict[str, int] = {}  # model → rings missing at the last sweep

    async def once(self) -> Swept:
        """Sweep once.

        A ring counts as lost when two sweeps in a row find more pending jobs than rings: one sweep
        may also find it between a ring and the claim that follows.
        """
        swept = await self._store.sweep()
        for job_id, model in swept.requeued:
            log.warning("lease expired, job requeued", job_id=job_id, model=model)
            await self._doorbell.ring(model, job_id)
        for job_id in swept.failed:
            log.error("job failed: its workers died too often", job_id=job_id)
        for entry in await self._store.models():
            backlog = await self._store.backlog(entry.name)
            missing = backlog.pending_jobs - await self._doorbell.waiting(entry.name)
            lost = min(missing, self._short.get(entry.name, 0))
            for _ in range(lost):
                await self._doorbell.ring(entry.name, "")
            self._short[entry.name] = max(0, missing - max(0, lost))
        return swept

    async def run(
        self, interval_s: float, on_transient_error: Callable[[], None] | None = None
    ) -> None:
        """Sweep forever; a transient store error skips a sweep and calls ``on_transient_error``."""
        while True:
            try:
                await self.once()
            except TransientStoreError as error:
                log.warning("sweep skipped", reason=str(error))
                if on_transient_error is not None:
                    on_transient_error()
            except Exception:  # without sweeps, dead workers' jobs would never be found
                log.exception("sweep failed")
            await asyncio.sleep(interval_s)
