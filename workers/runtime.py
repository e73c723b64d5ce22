"""The worker around its engine: answers rings, claims jobs, keeps their leases, gives them back.

All of it runs on one event loop in a thread of its own; Celery's tasks only wait for it.
"""

import asyncio
from collections.abc import Iterable
from time import time_ns

import structlog

from diffusion.bundle import Bundle
from jobs.errors import StoreTrouble
from jobs.queue import Doorbell
from jobs.store import Claim, JobStore
from jobs.tracing import Tracing
from workers.attempt import Attempt
from workers.engine import Engine
from workers.health import Pulse
from workers.holdings import Holdings
from workers.messages import Report
from workers.metrics import Counters
from workers.parking import lowest_rank, to_park
from workers.permits import Permits
from workers.publisher import Publisher
from workers.run import Run, open_run
from workers.settings import WorkerSettings

log = structlog.get_logger()


class Runtime:
    """Claims jobs for the engine and keeps them until they have left."""

    def __init__(
        self,
        store: JobStore,
        doorbell: Doorbell,
        bundle: Bundle,
        settings: WorkerSettings,
        tracing: Tracing,
    ) -> None:
        self._store = store
        self._bundle = bundle
        self._settings = settings
        self._tracing = tracing
        self._permits = Permits(settings.slots)
        self._claiming = asyncio.Lock()
        self._holdings = Holdings(bundle.info.name)
        self.pulse = Pulse()
        self._publisher = Publisher(
            store, doorbell, bundle, self._holdings, self.pulse, settings.publish_s, self._left
        )

    @property
    def model(self) -> str:
        """The name of the model served here."""
        return self._bundle.info.name

    @property
    def jobs(self) -> int:
        """Jobs held."""
        return len(self._holdings.runs)

    @property
    def counters(self) -> Counters:
        """What was counted so far."""
        return self._holdings.counters

    def attach(self, engine: Engine) -> None:
        """Feed this engine."""
        self._holdings.attach(engine)

    def report(self, report: Report) -> None:
        """Take a report from the engine. Thread-safe."""
        self._publisher.report(report)

    async def publish(self) -> None:
        """Carry reports to the store for ever."""
        await self._publisher.run()

    # Claiming ------------------------------------------------------------------------------

    async def answer(self, ring: str) -> None:
        """Answer one ring: claim the next job and stay until it has left this worker."""
        if not await self._permits.acquire():
            await self._publisher.ring(ring)
            return
        try:
            run = await self._next()
        except BaseException:
            self._permits.release()
            raise
        if run is None:
            self._permits.release()
            if self.pulse.draining:
                await self._publisher.ring(ring)
            return
        self._enter(run)
        self._fill()
        if self.pulse.draining:  # began while the claim was under way
            self._drain(run)
        await run.done

    async def _next(self) -> Run | None:
        """Claim the next job, one claim at a time, not beside a job that has to run alone."""
        runs = self._holdings.runs
        async with self._claiming:
            while any(run.claim.alone for run in runs.values()):
                await asyncio.wait([run.done for run in runs.values()])
            return None if self.pulse.draining else await self._claim()

    async def _claim(self) -> Run | None:
        began_ns = time_ns()
        claim = await self._insist()
        if claim is None:
            return None
        if (leaving := self._holdings.runs.get(claim.record.id)) is not None:
            # An earlier claim of it is on its way out, and what is still told is of that one.
            await asyncio.wait([leaving.done])
        spec, info = claim.record.spec, self._bundle.info
        unit = spec.width * spec.height / (info.width * info.height)
        run = open_run(claim, unit, Attempt(self._tracing, claim, began_ns))
        self._holdings.runs[run.id] = run
        self.counters.claimed(claim)
        run.log.info(
            "job claimed",
            attempt=claim.record.attempts,
            resumed=bool(claim.checkpoints),
            alone=claim.alone,
        )
        return run

    async def _insist(self) -> Claim | None:
        """Claim until the store answers: a job may have been given whose answer was lost."""
        pause = 0.05
        while True:
            try:
                return await self._store.claim(
                    self.model, self._settings.worker_id, idle=not self._holdings.runs
                )
            except StoreTrouble as error:
                self.counters.trouble()
                log.warning("no claim", reason=str(error))
            if self.pulse.draining:
                return None
            await asyncio.sleep(pause)
            pause = min(1.0, 2 * pause)

    def _enter(self, run: Run) -> None:
        """Let the run's next picture into the engine; the caller holds its place."""
        if not run.waiting:  # everything was stored by an earlier attempt
            self._permits.release()
            self._publisher.spawn(self._publisher.end(run), run)
            return
        picture = run.waiting.popleft()
        run.inside.add(picture.image)
        run.attempt.entered(picture.image)
        self._holdings.engine.submit(picture)

    def _fill(self) -> None:
        """Let pictures of jobs that are here already take the places that are free."""
        for run in self._holdings.runs.values():
            while run.waiting and run.leaving is None and self._permits.try_acquire():
                self._enter(run)

    def _left(self, run: Run, images: Iterable[int]) -> None:
        leaving = run.inside & set(images)
        run.inside -= leaving
        self._permits.release(len(leaving))
        self._fill()

    # Leases --------------------------------------------------------------------------------

    async def renew(self) -> None:
        """Prolong the leases of all jobs here, for ever, unless the engine has stalled."""
        holdings = self._holdings
        every_s = min(self._settings.renew_s, self._settings.beat_s)
        while True:
            await asyncio.sleep(every_s)
            if not holdings.runs:
                continue
            if not holdings.engine.healthy(self._settings.stall_s):
                log.error("the engine has stalled; its leases are left to run out")
                continue
            runs = holdings.runs.values()
            full = self._permits.free <= 0
            try:
                renewal = await self._store.renew(
                    [run.claim.lease for run in runs],
                    parkable=lowest_rank(runs) if full else None,
                )
            except StoreTrouble as error:
                holdings.trouble(error)
                continue
            holdings.lose(renewal.lost)
            if renewal.higher_waiting is not None and self._permits.free <= 0:
                self._park(renewal.higher_waiting)

    def _park(self, waiting: int) -> None:
        """Give a lower job back for a waiting one of this rank, and claim in its place.

        The waiting job's ring may be held by another worker that is full.
        """
        run = to_park(self._holdings.runs.values(), waiting)
        if run is not None:
            run.log.info("job parked", waiting=waiting)
            self.counters.departed("parked")
            self._holdings.depart(run, "parked")
            self._publisher.spawn(self.answer(""))

    # Stopping ------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Checkpoint and give back every job; return when none is left."""
        self.pulse.draining = True
        self.counters.draining()
        self._permits.close()
        runs = list(self._holdings.runs.values())
        for run in runs:
            self._drain(run)
        if runs:
            await asyncio.wait([run.done for run in runs])

    def _drain(self, run: Run) -> None:
        if run.leaving is None and len(run.inside) + len(run.waiting) > 0:
            self.counters.departed("drain")
            self._holdings.depart(run, "drain")
