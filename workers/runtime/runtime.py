"""The worker around its engine: answers rings, claims jobs, renews their leases, gives them back.

All of it runs on one event loop in a thread of its own; Celery's tasks only wait for it.
"""

import asyncio
from collections.abc import Iterable
from math import ceil
from time import monotonic, time_ns

import structlog

from diffusion.bundle.bundle import Bundle
from jobs.errors import TransientStoreError
from jobs.queue import Doorbell
from jobs.store import Claim, JobStore
from jobs.telemetry.tracing import Tracing
from jobs.tenants import Share
from workers.engine.engine import Engine
from workers.ops.batch import LiveBatch
from workers.ops.ending import end_process
from workers.ops.health import Pulse
from workers.ops.metrics import Counters
from workers.origin import image_origin
from workers.runtime.active_jobs import ActiveJobs, Neighbours
from workers.runtime.attempt import Attempt
from workers.runtime.lending import Lending
from workers.runtime.mailbox import Mailbox
from workers.runtime.preemption import holdings, lowest_rank, preemptible, to_preempt
from workers.runtime.publisher import Publisher
from workers.runtime.run import Run, open_run
from workers.runtime.slots import Slots
from workers.settings import WorkerSettings

log = structlog.get_logger()
RING_AGAIN_S = 0.1
"""Before a draining worker passes a ring on: Celery may hand it the same one again."""


class Runtime:
    """Claims jobs for the engine and keeps them until they have left."""

    def __init__(
        self,
        store: JobStore,
        doorbell: Doorbell,
        bundle: Bundle,
        settings: WorkerSettings,
        tracing: Tracing,
        engine: Engine,
        mailbox: Mailbox,
        counters: Counters,
        neighbours: Neighbours,
    ) -> None:
        self._store = store
        self._info = bundle.info
        self._settings = settings
        self._tracing = tracing
        self._counters = counters
        self._claiming = asyncio.Lock()
        self._jobs = ActiveJobs(engine, counters)
        self._neighbours = neighbours
        self._slots = Slots(settings.slots, self._jobs.runs, neighbours)
        neighbours.add(self._fill, self._jobs.runs)
        self._lending = Lending(store, doorbell, self._jobs, self._fill)
        self._answers: set[asyncio.Task[None]] = set()
        self._ending: asyncio.Future[None] | None = None
        self.pulse = Pulse()
        self.batch = LiveBatch(
            settings.worker_id, bundle.info.name, settings.slots, lambda: engine.rows_per_tick
        )
        self._publisher = Publisher(
            store, doorbell, bundle.info, self._jobs, mailbox, self.pulse, self.batch,
            settings.publish_s, image_origin(bundle, settings), self._free, self._after_failure,
            refuse_flagged=settings.safety == "refuse",
        )  # fmt: skip

    @property
    def job_count(self) -> int:
        """Jobs held."""
        return len(self._jobs.runs)

    async def publish(self) -> None:
        """Publish the engine's reports forever."""
        await self._publisher.run()

    async def answer(self, ring: str) -> None:
        """Answer one ring: claim the next job and return once it has left this worker."""
        task = asyncio.ensure_future(self._answer(ring))
        self._answers.add(task)
        task.add_done_callback(self._answers.discard)
        await asyncio.wait([task])
        if not task.cancelled():  # by the end of a drain
            task.result()

    async def _answer(self, ring: str) -> None:
        run = await self._next()
        if run is None:
            if self.pulse.draining:
                await asyncio.sleep(RING_AGAIN_S)
                await self._publisher.ring(ring)
            return
        if self.pulse.draining:  # since the claim was sent
            self._drain(run)
        await run.done

    async def _next(self) -> Run | None:
        """Claim the next job, one claim at a time and none while a job has to run alone."""
        self._slots.claims += 1
        try:
            async with self._claiming:
                run = await self._claim()
        finally:
            self._slots.claims -= 1
            self._fill()
        return run

    async def _claim(self) -> Run | None:
        """Claim with a slot in hand; return None if no job waits or the worker drains."""
        while await self._slots.acquire():
            tenant = self._slots.owed.popleft() if self._slots.owed else None
            above = self._slots.above if tenant is None else None
            try:
                run = await self._claim_above(above, tenant)
            except BaseException:
                self._slots.release()
                raise
            if run is None and above is None and tenant is None:
                run = await self._help()
            if run is not None:
                self._enter(run)
                return run
            self._slots.release()
            if above is None and tenant is None:
                return None
            self._fill(asked=True)
        return None

    async def _claim_above(self, rank: int | None, tenant: str | None) -> Run | None:
        began_ns = time_ns()
        claim = await self._claimed(rank, tenant)
        if claim is None:
            return None
        if (leaving := self._jobs.runs.get(claim.record.id)) is not None:
            # Its earlier claim here is still leaving, and the engine's reports are about that one.
            await asyncio.wait([leaving.done])
        run = self._open(claim, began_ns)
        self._counters.claimed(claim)
        run.log.info(
            "job claimed",
            attempt=claim.record.attempts,
            resumed=bool(claim.checkpoints),
            alone=claim.alone,
        )
        self._lend(run)
        return run

    async def _help(self) -> Run | None:
        """Take images that another worker offers, as many as there are free slots."""
        began_ns, free = time_ns(), 1 + max(0, self._slots.free)
        if self.pulse.draining:
            return None
        try:
            claim = await self._store.help(
                self._info.name, self._settings.worker_id, most=free, busy=list(self._jobs.runs)
            )
        except TransientStoreError as error:
            self._jobs.store_failed(error)
            return None
        if claim is None:
            return None
        run = self._open(claim, began_ns)
        run.log.info("images taken", images=len(run.waiting))
        return run

    def _lend(self, run: Run) -> None:
        """Offer idle workers their shares of a job's images."""
        idle = run.claim.idle_workers
        if not idle or run.claim.alone or len(run.waiting) < 2:
            return
        share = ceil(len(run.waiting) / (idle + 1))
        lent = [run.waiting.pop() for _ in range(len(run.waiting) - share)]
        run.lent = {request.image: request for request in reversed(lent)}
        self._publisher.spawn(self._lent(run, share), run)

    async def _lent(self, run: Run, share: int) -> None:
        await self._lending.lend(run, share)
        if len(run.stored) == run.claim.record.spec.num_images:
            await self._publisher.finish(run)

    def _open(self, claim: Claim, began_ns: int) -> Run:
        spec, info = claim.record.spec, self._info
        unit = spec.width * spec.height / (info.width * info.height)
        attempt = Attempt(self._tracing, claim, began_ns)
        run = open_run(claim, unit, attempt, embeds_guidance=info.embeds_guidance)
        self._jobs.runs[run.id] = run
        run.done.add_done_callback(lambda _: self._neighbours.left())
        return run

    async def _claimed(self, above: int | None, tenant: str | None) -> Claim | None:
        """Claim until the store answers: the lost answer may have been a job.

        In a drain nothing more is claimed, so that only a lost answer brings a job: no class is
        above rank 0.
        """

        async def claim() -> Claim | None:
            worker, idle = self._settings.worker_id, self._neighbours.idle
            rank = 0 if self.pulse.draining else above
            try:
                return await self._store.claim(
                    self._info.name, worker, idle=idle, above=rank, tenant=tenant
                )
            except TransientStoreError:
                self._fill(asked=True)  # an outage must not hold up the images here
                raise

        return await self._jobs.retried(claim, lambda: True)

    def _enter(self, run: Run) -> None:
        """Submit the run's next image to the engine; the caller holds a slot for it."""
        if not run.waiting:  # everything was stored by an earlier attempt
            self._slots.release()
            self._publisher.spawn(self._publisher.finish(run), run)
            return
        request = run.waiting.popleft()
        run.in_slots.add(request.image)
        run.attempt.entered(request.image)
        self._jobs.engine.submit(request)

    def _fill(self, *, asked: bool = False) -> None:
        """Give free slots to waiting images of jobs that are here.

        A claim that waits is let ahead to ask for a higher class, unless it has ``asked``.
        """
        while self._slots.spare and (asked or self._slots.image_next()):
            if (run := self._slots.first()) is None:
                break
            self._slots.free -= 1
            self._enter(run)
        self._slots.notify()

    def _free(self, run: Run, images: Iterable[int]) -> None:
        """Free the slots of images that have left the engine."""
        left = run.in_slots & set(images)
        run.in_slots -= left
        self._slots.free += len(left)
        self._fill()

    async def renew(self) -> None:
        """Renew the leases of all jobs here, forever, unless the engine has stalled."""
        jobs = self._jobs
        every_s = min(self._settings.renew_s, self._settings.beat_s)
        while True:
            await asyncio.sleep(every_s)
            if not jobs.runs:
                continue
            if jobs.engine.silent_s >= self._settings.stall_s:
                log.error("the engine has stalled; its leases are left to expire")
                continue
            runs = list(jobs.runs.values())
            full = self._slots.free <= 0
            try:
                renewal = await self._store.renew(
                    [run.claim.lease for run in runs],
                    preemptible=lowest_rank(runs) if full else None,
                    held=holdings(runs) if full else (),
                )
            except TransientStoreError as error:
                jobs.store_failed(error)
                continue
            jobs.lose(run for run in runs if run.id in renewal.lost)
            if renewal.higher_waiting is not None and self._slots.free <= 0:
                self._preempt(renewal.higher_waiting)
            elif renewal.share is not None and self._slots.free <= 0:
                self._share(renewal.share)

    def _preempt(self, waiting: int) -> None:
        """Give a lower job back for a waiting one of this rank, and claim in its place."""
        run = to_preempt(self._jobs.runs.values(), waiting)
        if run is not None:
            run.log.info("job preempted", waiting=waiting)
            self._park(run)

    def _share(self, share: Share) -> None:
        """Give a job back for one of another tenant, and claim that in its place."""
        run = self._jobs.runs.get(share.job_id)
        if run is not None and run in preemptible(self._jobs.runs.values()):
            run.log.info("job preempted", tenant=share.tenant)
            self._slots.owed.append(share.tenant)
            self._park(run)

    def _park(self, run: Run) -> None:
        """Give a job back and claim; the waiting one's ring may be held by another full worker."""
        self._counters.departed("parked")
        self._jobs.release(run, "parked")
        self._publisher.spawn(self.answer(""))

    def close(self) -> None:
        """Claim nothing from here on."""
        if self.pulse.draining_since is None:
            self.pulse.draining_since = monotonic()
        self._counters.draining.set(1)
        self._slots.close()

    def pause(self) -> None:
        """Give every job back and take none until :meth:`resume`."""
        log.info("paused by an operator", jobs=self.job_count)
        self.pulse.paused = True
        self._slots.close()
        for run in list(self._jobs.runs.values()):
            self._drain(run)

    def resume(self) -> None:
        """Take jobs again, unless the worker stops meanwhile."""
        self.pulse.paused = False
        if self.pulse.draining:
            return
        log.info("resumed by an operator")
        self._slots.reopen()

    async def drain(self) -> None:
        """Checkpoint and give back every job; return when none is left and no claim is sent.

        While Redis does not answer it lasts no longer than a lease: Redis then requeues the jobs.
        """
        self.close()
        for run in list(self._jobs.runs.values()):
            self._drain(run)
        left = set(self._answers)
        while left and (left_s := self._settings.lease_s - self.pulse.unanswered_s) > 0:
            _, left = await asyncio.wait(left, timeout=left_s)
        if left:
            self._abandon(left)
        self._neighbours.remove(self._fill)

    def _abandon(self, late: Iterable[asyncio.Task[None]]) -> None:
        runs = list(self._jobs.runs.values())
        log.error(
            "Redis does not answer; it requeues the jobs that it did not take", jobs=len(runs)
        )
        self._publisher.abandon()
        for run in runs:
            self._jobs.close(run, None)
        for task in late:
            task.cancel()

    def _after_failure(self) -> None:
        """End the process once too many jobs have failed in a row: others may draw them."""
        failures = self._jobs.failures
        if failures >= self._settings.max_failures and self._ending is None:
            self._ending = asyncio.ensure_future(self._end(f"{failures} jobs failed in a row"))

    async def _end(self, reason: str) -> None:
        await self.drain()
        end_process(reason)

    def _drain(self, run: Run) -> None:
        if run.leaving is None and (run.in_slots or run.waiting):
            self._counters.departed("drain")
            self._jobs.release(run, "drain")
