"""The sweep: expired leases, deadlines, lost rings. One of all workers and doors runs it."""

import asyncio
import secrets
from collections.abc import Callable

import structlog

from jobs.errors import TransientStoreError
from jobs.queue import Doorbell
from jobs.store import JobStore, Swept

log = structlog.get_logger()
HOLD = 1.5  # intervals that a sweep gives its process the next one for
SURPLUS = 100  # rings more than jobs that a queue may hold


class Sweeper:
    """Sweeps the store and rings for jobs that wait without a ring."""

    def __init__(self, store: JobStore, doorbell: Doorbell) -> None:
        self._store = store
        self._doorbell = doorbell
        self._name = secrets.token_hex(8)
        self._short: dict[str, int] = {}  # model → rings missing at the last sweep; < 0: too many

    async def once(self) -> Swept:
        """Sweep once."""
        swept = await self._store.sweep()
        for job_id, model in swept.requeued:
            log.warning("lease expired, job requeued", job_id=job_id, model=model)
            await self._doorbell.ring(model, job_id)
        for job_id in swept.failed:
            log.error("job failed: its workers died too often", job_id=job_id)
        if swept.lost:
            log.error("jobs are gone from Redis", jobs=swept.lost)
        if swept.records_forgotten:
            log.warning("ended jobs deleted early for want of room", jobs=swept.records_forgotten)
        for entry in await self._store.models():
            await self._count_rings(entry.name)
        return swept

    async def _count_rings(self, model: str) -> None:
        """Ring where rings are missing, and drop those that are left of cancelled jobs.

        Only what two sweeps in a row find counts: one may also find a ring between it and the
        claim that follows.
        """
        backlog = await self._store.backlog(model)
        missing = backlog.pending_jobs - await self._doorbell.waiting(model)
        before = self._short.get(model, 0)
        lost, surplus = min(missing, before), min(-missing, -before) - SURPLUS
        for _ in range(lost):
            await self._doorbell.ring(model, "")
        if surplus > 0:
            await self._doorbell.drop(model, surplus)
        self._short[model] = missing - max(0, lost) + max(0, surplus)

    async def run(
        self, interval_s: float, on_transient_error: Callable[[], None] | None = None
    ) -> None:
        """Sweep forever, while no other process does; another goes on if this one ends.

        A transient store error skips a sweep and calls ``on_transient_error``.
        """
        while True:
            try:
                if await self._store.take_sweep(self._name, HOLD * interval_s):
                    await self.once()
            except TransientStoreError as error:
                log.warning("sweep skipped", reason=str(error))
                if on_transient_error is not None:
                    on_transient_error()
            except Exception:  # without sweeps, dead workers' jobs would never be found
                log.exception("sweep failed")
            await asyncio.sleep(interval_s)
