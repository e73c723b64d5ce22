"""Lends images of a job to idle workers, so that a job of many does not wait for one worker alone.

The job stays with the worker that claimed it. After a moment it takes back what no worker has
taken, and later what helpers give back or leave behind.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from math import ceil

from jobs.errors import TransientStoreError
from jobs.queue import Doorbell
from jobs.store import JobStore
from workers.runtime.active_jobs import ActiveJobs
from workers.runtime.run import Run, resume

OFFER_S = 0.25
"""For idle workers to answer the rings; then the job's own worker draws the images."""
LOOK_S = 0.1
OUTAGE_S = 1.0  # until a store that does not answer is asked again


class Lending:
    """What a worker offers to others."""

    def __init__(
        self, store: JobStore, doorbell: Doorbell, jobs: ActiveJobs, fill: Callable[[], None]
    ) -> None:
        self._store = store
        self._doorbell = doorbell
        self._jobs = jobs
        self._fill = fill  # called when a job has images again

    async def lend(self, run: Run, share: int) -> None:
        """Offer a run's ``lent`` images; return once each is stored or back, or the run leaves.

        Raises:
            StaleFence: the job has left this worker.
        """
        try:
            await self._store.offer(run.claim.lease, list(run.lent), share)
            for _ in range(ceil(len(run.lent) / share)):
                await self._doorbell.ring(run.claim.record.spec.model, run.id)
        except TransientStoreError as error:
            self._jobs.store_failed(error)
        run.log.info("images offered", images=len(run.lent), share=share)
        await asyncio.sleep(OFFER_S)
        while run.lent and not run.ended and run.leaving is None:
            try:
                await self._retake(run)
            except TransientStoreError as error:
                self._jobs.store_failed(error)
                await asyncio.sleep(OUTAGE_S)
            await asyncio.sleep(LOOK_S)

    async def _retake(self, run: Run) -> None:
        found = await self._store.retake(run.claim.lease)
        stored = run.lent.keys() & found.stored - found.helped
        back = run.lent.keys() - found.helped - stored
        states = {c.image: resume(c) for c in await self._store.checkpoints(run.id)} if back else {}
        requests = {image: run.lent.pop(image) for image in sorted(stored | back)}
        run.stored |= stored
        run.moved = run.moved or bool(stored)
        if back:
            run.log.info("images back", images=len(back))
            run.waiting.extend(replace(requests[i], resume=states.get(i)) for i in sorted(back))
            self._fill()
