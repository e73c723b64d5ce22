"""The worker around its engine: answers rings, claims jobs, and carries reports to the store.

All of it runs on one event loop in a thread of its own; Celery's tasks only wait for it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from typing import Any, TypeVar

import structlog

from diffusion.bundle import Bundle
from jobs.errors import JobsError, StaleFence, StoreFull, StoreUnavailable
from jobs.queue import Doorbell
from jobs.schema import ImageRecord, JobError, JobRecord
from jobs.store import Checkpoint, FinishedImage, JobStore, Preview, RequeueReason
from workers.engine import Engine
from workers.mailbox import Mailbox
from workers.messages import (
    Admitted,
    Advanced,
    Failed,
    Finished,
    Previewed,
    Released,
    Report,
    Saved,
)
from workers.metrics import Counters
from workers.permits import Permits
from workers.picture import CONTENT_TYPES, PREVIEW_CONTENT_TYPE, encode, encode_preview, parameters
from workers.run import Leaving, Run, open_run
from workers.settings import WorkerSettings

log = structlog.get_logger()
T = TypeVar("T")
MAX_PREVIEWS_A_ROUND = 8
"""Previews beyond this wait for the next round, replaced by newer ones: a publisher that falls
behind drops previews, never checkpoints or results."""


class Runtime:
    """Claims jobs for the engine and tells the store what becomes of them."""

    def __init__(
        self, store: JobStore, doorbell: Doorbell, bundle: Bundle, settings: WorkerSettings
    ) -> None:
        self._store = store
        self._doorbell = doorbell
        self._bundle = bundle
        self._settings = settings
        self._permits = Permits(settings.slots)
        self._claiming = asyncio.Lock()
        self._runs: dict[str, Run] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._mailbox = Mailbox(asyncio.get_running_loop())
        self._engine: Engine | None = None
        self._draining = False
        self.counters = Counters()

    @property
    def model(self) -> str:
        """The name of the model served here."""
        return self._bundle.info.name

    @property
    def jobs(self) -> int:
        """Jobs held."""
        return len(self._runs)

    @property
    def engine(self) -> Engine:
        """The engine that this runtime feeds."""
        assert self._engine is not None, "attach() comes first"
        return self._engine

    def attach(self, engine: Engine) -> None:
        """Feed this engine."""
        self._engine = engine

    def report(self, report: Report) -> None:
        """Take a report from the engine. Thread-safe."""
        self._mailbox.put(report)

    # Claiming ------------------------------------------------------------------------------

    async def answer(self, ring: str) -> None:
        """Answer one ring: claim the next job and stay until it has left this worker."""
        if not await self._permits.acquire():
            await self._ring_again(ring)
            return
        try:
            run = await self._next()
        except BaseException:
            self._permits.release()
            raise
        if run is None:
            self._permits.release()
            if self._draining:
                await self._ring_again(ring)
            return
        self._enter(run)
        self._fill()
        await run.done

    async def _next(self) -> Run | None:
        """Claim the next job, one claim at a time, not beside a job that has to run alone."""
        async with self._claiming:
            while any(run.claim.alone for run in self._runs.values()):
                await asyncio.wait([run.done for run in self._runs.values()])
            return None if self._draining else await self._claim()

    async def _ring_again(self, ring: str) -> None:
        try:
            await self._doorbell.ring(self.model, ring)
        except StoreUnavailable:
            log.warning("ring lost; a sweep makes up for it")

    async def _claim(self) -> Run | None:
        try:
            claim = await self._store.claim(
                self.model, self._settings.worker_id, idle=not self._runs
            )
        except StoreUnavailable as error:
            log.warning("no claim", reason=str(error))
            return None
        if claim is None:
            return None
        spec, info = claim.record.spec, self._bundle.info
        run = open_run(claim, spec.width * spec.height / (info.width * info.height))
        self._runs[run.id] = run
        self.counters.claimed(claim)
        log.info(
            "job claimed",
            job_id=run.id,
            attempt=claim.record.attempts,
            resumed=bool(claim.checkpoints),
            alone=claim.alone,
        )
        return run

    def _enter(self, run: Run) -> None:
        """Let the run's next picture into the engine; the caller holds its place."""
        if not run.waiting:  # everything was stored by an earlier attempt
            self._permits.release()
            self._spawn(self._end(run))
            return
        picture = run.waiting.popleft()
        run.inside.add(picture.image)
        self.engine.submit(picture)

    def _fill(self) -> None:
        """Let pictures of jobs that are here already take the places that are free."""
        for run in self._runs.values():
            while run.waiting and run.leaving is None and self._permits.try_acquire():
                self._enter(run)

    def _left(self, run: Run, images: Iterable[int]) -> None:
        leaving = run.inside & set(images)
        run.inside -= leaving
        self._permits.release(len(leaving))
        self._fill()

    # Reports -------------------------------------------------------------------------------

    async def publish(self) -> None:
        """Carry reports to the store for ever, in rounds at a bounded rate."""
        while True:
            for report in await self._mailbox.wait():
                self._note(report)
            await self._round()
            await asyncio.sleep(self._settings.publish_s)

    def _note(self, report: Report) -> None:
        if isinstance(report, Advanced):
            for standing in report.pictures:
                if (run := self._runs.get(standing.job_id)) is not None:
                    run.standings[standing.image] = standing
                    run.moved = True
        elif (run := self._runs.get(report.job_id)) is None:
            return
        elif isinstance(report, Previewed):
            run.previews[report.image] = report
        elif isinstance(report, Saved):
            run.saved[report.image] = report
        else:
            self._turn(run, report)

    def _turn(self, run: Run, report: Admitted | Finished | Failed | Released) -> None:
        """Act on a report that changes where a picture is."""
        if isinstance(report, Admitted):
            log.info("picture admitted", job_id=run.id, image=report.image, row=report.row)
            if report.refused:
                log.warning("checkpoint of another build refused", job_id=run.id)
        elif isinstance(report, Finished):
            self._left(run, [report.image])
            self._spawn(self._store_picture(run, report))
        elif isinstance(report, Failed):
            self._left(run, [report.image])
            self._spawn(self._fail(run, JobError(code=report.code, detail=report.detail)))
        else:
            self._spawn(self._release(run, report))

    async def _round(self) -> None:
        runs = [run for run in self._runs.values() if run.leaving is None]
        saving = [self._checkpoint(run) for run in runs if run.saved]
        await asyncio.gather(self._progress(runs), self._previews(runs), *saving)

    async def _progress(self, runs: list[Run]) -> None:
        moved = [run for run in runs if run.moved]
        if not moved:
            return
        updates = []
        for run in moved:
            run.moved = False
            updates.append(run.progress(self._eta_s(run)))
        try:
            lost = await self._store.progress(updates)
        except StoreUnavailable as error:
            for run in moved:
                run.moved = True
            self._trouble(error)
            return
        self._lose(lost)

    def _eta_s(self, run: Run) -> float | None:
        rate = self.engine.stats.rows_per_s
        if rate <= 0:
            return None
        passes = 2 if run.claim.record.spec.guidance_scale != 1.0 else 1
        return run.rows_left * max(passes, self.engine.stats.passes_used) / rate

    async def _previews(self, runs: list[Run]) -> None:
        due: list[tuple[Run, Previewed]] = []
        for run in runs:
            while run.previews and len(due) < MAX_PREVIEWS_A_ROUND:
                due.append((run, run.previews.popitem()[1]))
        if not due:
            return
        files = await asyncio.gather(
            *(asyncio.to_thread(encode_preview, preview.pixels) for _, preview in due)
        )
        previews = [
            Preview(run.claim.lease, shown.image, shown.step, PREVIEW_CONTENT_TYPE, data)
            for (run, shown), data in zip(due, files, strict=True)
        ]
        try:
            self._lose(await self._store.preview(previews))
            self.counters.previewed(len(previews))
        except (StoreUnavailable, StoreFull) as error:
            self._trouble(error)

    async def _checkpoint(self, run: Run) -> None:
        async with run.lock:
            if not run.ended:
                await self._write_saved(run)

    async def _write_saved(self, run: Run) -> None:
        """Write the states that wait; on trouble they wait on, unless newer ones come."""
        saved = {k: v for k, v in run.saved.items() if k not in run.stored}
        run.saved = {}
        if not saved:
            return
        checkpoints = [
            Checkpoint(s.image, s.row, s.identity, _shape(s), s.state.tobytes())
            for s in saved.values()
        ]
        try:
            await self._store.checkpoint(run.claim.lease, checkpoints)
        except StaleFence:
            self._lose([run.id])
        except (StoreUnavailable, StoreFull) as error:
            run.saved = saved | run.saved
            self._trouble(error)

    async def _store_picture(self, run: Run, report: Finished) -> None:
        spec = run.claim.record.spec
        values = parameters(spec, report.image, self._bundle.info.sha256)
        async with run.lock:
            if run.ended:
                return
            data = await asyncio.to_thread(encode, report.pixels, spec.output_format, values)
            record = ImageRecord(
                index=report.image,
                seed=spec.seed,
                width=spec.width,
                height=spec.height,
                content_type=CONTENT_TYPES[spec.output_format],
                size_bytes=len(data),
            )
            image = FinishedImage(record, data)
            await self._insist(run, lambda: self._store.add_image(run.claim.lease, image))
            run.stored.add(report.image)
        if len(run.stored) == spec.num_images:
            await self._end(run)

    async def _end(self, run: Run) -> None:
        async with run.lock:
            if run.ended:
                return
            record = await self._insist(
                run, lambda: self._store.finish(run.claim.lease, run.evaluations)
            )
            self._close(run, record)

    async def _fail(self, run: Run, error: JobError) -> None:
        async with run.lock:
            if run.ended:
                return
            log.error("job failed", job_id=run.id, code=error.code, detail=error.detail)
            record = await self._insist(run, lambda: self._store.fail(run.claim.lease, error))
            self.counters.ended(record)
            self._depart(run, "lost")

    async def _release(self, run: Run, report: Released) -> None:
        """The job's rows have left the engine: give it back, unless it is no longer ours."""
        self._left(run, list(run.inside))
        async with run.lock:
            if run.ended:
                return
            reason = run.leaving or "drain"
            if reason != "lost":
                run.saved |= {saved.image: saved for saved in report.saved}
                await self._give_back(run, reason)
            self._close(run, None)

    async def _give_back(self, run: Run, reason: RequeueReason) -> None:
        await self._write_saved(run)
        await self._progress([run])
        try:
            record = await self._insist(run, lambda: self._store.requeue(run.claim.lease, reason))
        except StaleFence:
            return
        log.info("job given back", job_id=run.id, reason=reason, step=record.step)
        await self._ring_again(run.id)

    async def _insist(self, run: Run, call: Callable[[], Awaitable[T]]) -> T:
        """Make a write that must not be lost, for as long as the job is ours.

        Raises:
            StaleFence: the job is not ours any more.
        """
        pause = 0.05
        while True:
            try:
                return await call()
            except StaleFence:
                self._lose([run.id])
                raise
            except (StoreUnavailable, StoreFull) as error:
                self._trouble(error)
                if run.leaving == "lost":
                    raise StaleFence(run.id) from error
            await asyncio.sleep(pause)
            pause = min(1.0, pause * 2)

    def _close(self, run: Run, record: JobRecord | None) -> None:
        run.ended = True
        self._runs.pop(run.id, None)
        if record is not None:
            self.counters.ended(record)
            log.info("job ended", job_id=run.id, status=str(record.status))
        if not run.done.done():
            run.done.set_result(None)

    # Leases --------------------------------------------------------------------------------

    async def renew(self) -> None:
        """Prolong the leases of all jobs here, for ever, unless the engine has stalled."""
        while True:
            await asyncio.sleep(self._settings.renew_s)
            if not self._runs:
                continue
            if not self.engine.healthy(self._settings.stall_s):
                log.error("the engine has stalled; its leases are left to run out")
                continue
            try:
                renewal = await self._store.renew([r.claim.lease for r in self._runs.values()])
            except StoreUnavailable as error:
                self._trouble(error)
                continue
            self._lose(renewal.lost)
            if renewal.higher_waiting is not None and self._permits.free <= 0:
                self._park(renewal.higher_waiting)

    def _park(self, waiting: str) -> None:
        """Give back the lowest job that a waiting class goes before, the newest of its class."""
        ranks = ("high", "normal", "low")
        lower = [
            run
            for run in self._runs.values()
            if run.leaving is None
            and run.inside
            and run.claim.record.spec.priority.rank > ranks.index(waiting)
        ]
        if lower:
            run = max(lower, key=lambda r: (r.claim.record.spec.priority.rank, r.rows_left))
            log.info("job parked", job_id=run.id, waiting=waiting)
            self._depart(run, "parked")

    def _lose(self, job_ids: Iterable[str]) -> None:
        for job_id in job_ids:
            run = self._runs.get(job_id)
            if run is not None and run.leaving != "lost":
                log.info("job is no longer ours", job_id=job_id)
                self._depart(run, "lost")

    def _depart(self, run: Run, reason: Leaving) -> None:
        run.leaving = reason
        run.waiting.clear()
        self.engine.release(run.id)

    def _trouble(self, error: JobsError) -> None:
        self.counters.trouble()
        log.warning("store in trouble", reason=str(error))

    # Stopping ------------------------------------------------------------------------------

    async def drain(self) -> None:
        """Checkpoint and give back every job; return when none is left."""
        self._draining = True
        self._permits.close()
        held = [run.done for run in self._runs.values()]
        for run in list(self._runs.values()):
            if run.leaving is None and len(run.inside) + len(run.waiting) > 0:
                self._depart(run, "drain")
        if held:
            await asyncio.wait(held)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, StaleFence):
            log.error("publisher task failed", exc_info=error)


def _shape(saved: Saved) -> tuple[int, int, int, int]:
    k, c, h, w = saved.state.shape
    return k, c, h, w
