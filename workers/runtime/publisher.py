"""Writes the engine's reports to the store: progress, previews, checkpoints and results."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from hashlib import sha256
from time import monotonic
from typing import Any, TypeVar

import structlog

from diffusion.model import ModelInfo
from jobs.errors import StaleFence, TransientStoreError
from jobs.queue import Doorbell
from jobs.schema import ImageOrigin, ImageRecord, JobError, JobWarning
from jobs.store import Checkpoint, FinishedImage, JobStore, RequeueReason
from workers.engine.messages import (
    Admitted,
    Advanced,
    Failed,
    Finished,
    Previewed,
    Released,
    Report,
    Saved,
)
from workers.ops.batch import LiveBatch
from workers.ops.health import Pulse
from workers.runtime.active_jobs import ActiveJobs
from workers.runtime.image_file import CONTENT_TYPES, encode, parameters
from workers.runtime.mailbox import Mailbox
from workers.runtime.previews import publish_previews
from workers.runtime.run import Run
from workers.runtime.safety import content_blurred, content_filtered
from workers.runtime.warnings import warnings

log = structlog.get_logger()
T = TypeVar("T")
NOT_OF_THE_JOB = ("internal", "out_of_memory")
"""Codes of failures that another worker may not have."""
OF_THE_REQUEST = ("invalid_request", "content_filtered")
"""Codes of failures that say nothing of this worker."""


class Publisher:
    """Publishes what happens to the jobs here, in rounds at a bounded rate."""

    def __init__(
        self,
        store: JobStore,
        doorbell: Doorbell,
        info: ModelInfo,
        jobs: ActiveJobs,
        mailbox: Mailbox,
        pulse: Pulse,
        batch: LiveBatch,
        publish_s: float,
        origin: ImageOrigin,
        free: Callable[[Run, Iterable[int]], None],
        failed: Callable[[], None],
        *,
        refuse_flagged: bool = False,
    ) -> None:
        self._store = store
        self._doorbell = doorbell
        self._info = info
        self._jobs = jobs
        self._mailbox = mailbox
        self._pulse = pulse
        self._batch = batch
        self._publish_s = publish_s
        self._origin = origin  # of the images drawn here
        self._free = free  # called with images that have left the engine
        self._failed = failed  # called once a job has failed
        self._refuse_flagged = refuse_flagged  # pictures, which are blurred otherwise
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Publish reports forever."""
        while True:
            for report in await self._mailbox.wait():
                self._note(report)
            self._pulse.round_began = monotonic()
            await self._round()
            self._pulse.round_began = None
            await asyncio.sleep(self._publish_s)

    def _note(self, report: Report) -> None:
        if isinstance(report, Advanced):
            self._batch.advanced(report)
            for progress in report.images:
                if (run := self._jobs.runs.get(progress.job_id)) is not None:
                    run.progress[progress.image] = progress
                    run.moved = True
                    run.attempt.advanced(report, progress)
        elif (run := self._jobs.runs.get(report.job_id)) is None:
            return
        elif isinstance(report, Previewed):
            run.previews[report.image] = report
        elif isinstance(report, Saved):
            run.saved[report.image] = report
        else:
            self._act(run, report)

    def _act(self, run: Run, report: Admitted | Finished | Failed | Released) -> None:
        """Act on an image that has entered or left the engine."""
        if isinstance(report, Admitted):
            run.attempt.admitted(report)
            spec = run.claim.record.spec
            self._batch.admitted(report, spec, run.passes, run.progress)
            run.log.info("image admitted", image=report.image, row=report.row)
            if report.refused:
                run.log.warning("checkpoint of another build refused")
            found = warnings(report)
            if new := [found[code] for code in found.keys() - run.warned]:
                run.warned |= found.keys()
                self.spawn(self._warn(run, new), run)
        elif isinstance(report, Finished):
            self._jobs.failures = 0
            self._batch.left("finished", run.id, report.image)
            self._free(run, [report.image])
            if report.flagged and self._refuse_flagged:
                self.spawn(self._fail(run, content_filtered(report)), run)
            else:
                self.spawn(self._store_image(run, report), run)
        elif isinstance(report, Failed):
            self._batch.left("failed", run.id, report.image)
            self._free(run, [report.image])
            self.spawn(self._fail(run, JobError(code=report.code, detail=report.detail)), run)
        else:
            self._batch.released("preempted" if run.leaving == "parked" else "released", run.id)
            self.spawn(self._release(run, report), run)

    async def _warn(self, run: Run, found: Sequence[JobWarning]) -> None:
        """Add warnings to the job; its end waits for the same lock."""
        async with run.lock:
            if not run.ended:
                await self._insist(run, lambda: self._store.warn(run.claim.lease, found))

    async def _round(self) -> None:
        runs = [run for run in self._jobs.runs.values() if run.leaving is None]
        previews = publish_previews(self._store, self._jobs, runs)
        saving = [self._checkpoint(run) for run in runs if run.saved]
        await asyncio.gather(self._progress(runs), previews, *saving)

    async def _progress(self, runs: list[Run]) -> None:
        moved = [run for run in runs if run.moved]
        if not moved:
            return
        for run in moved:
            run.moved = False
        updates = [run.total_progress(self._eta_s(run)) for run in moved]
        try:
            lost, finishing = await self._store.progress(updates)
        except TransientStoreError as error:
            for run in moved:
                run.moved = True
            self._jobs.store_failed(error)
            return
        self._jobs.lose(run for run in moved if run.id in lost)
        for job_id in finishing:
            self._jobs.engine.finish_now(job_id)

    def _eta_s(self, run: Run) -> float | None:
        stats = self._jobs.engine.stats
        if stats.rows_per_s <= 0:
            return None
        return run.rows_left * max(run.passes, stats.passes_used) / stats.rows_per_s

    async def _checkpoint(self, run: Run) -> None:
        async with run.lock:
            if not run.ended:
                await self._write_saved(run)

    async def _write_saved(self, run: Run) -> None:
        """Write the states that wait; if that fails they wait on, unless newer ones come."""
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
            run.attempt.checkpointed(max(checkpoint.row for checkpoint in checkpoints))
        except StaleFence:
            self._jobs.lose([run])
        except TransientStoreError as error:
            run.saved = saved | run.saved
            self._jobs.store_failed(error)

    async def _store_image(self, run: Run, report: Finished) -> None:
        spec = run.claim.record.spec
        values = parameters(spec, report.image, self._info.sha256)
        if report.early is not None:
            values["finished_early"] = report.early
            run.early = min(report.early, run.early or report.early)
        async with run.lock:
            if run.ended:
                return
            try:
                with run.attempt.stage("encode"):
                    data = await asyncio.to_thread(
                        encode, report.pixels, spec.output_format, values, blur=report.flagged
                    )
            except Exception as error:  # Pillow raises whatever its encoders raise
                self.spawn(self._fail(run, JobError(code="internal", detail=repr(error))), run)
                return
            record = ImageRecord(
                index=report.image,
                seed=spec.image_seed(report.image),
                width=spec.width,
                height=spec.height,
                content_type=CONTENT_TYPES[spec.output_format],
                size_bytes=len(data),
                sha256=sha256(data).hexdigest(),
                origin=self._origin.model_copy(update={"eta": values["eta"]}),
            )
            image = FinishedImage(record, data)
            if report.flagged:
                said = [content_blurred()]
                await self._insist(run, lambda: self._store.warn(run.claim.lease, said))
            with run.attempt.stage("store picture"):
                await self._insist(run, lambda: self._store.add_image(run.claim.lease, image))
            run.stored.add(report.image)
        if len(run.stored) == spec.num_images:
            await self.finish(run)

    async def finish(self, run: Run) -> None:
        """Finish a job whose images are all stored."""
        async with run.lock:
            if run.ended:
                return
            with run.attempt.stage("finish"):
                record = await self._insist(
                    run, lambda: self._store.finish(run.claim.lease, run.evaluations, run.early)
                )
            self._jobs.close(run, record)

    async def _fail(self, run: Run, error: JobError) -> None:
        async with run.lock:
            if run.ended:
                return
            run.log.error("job failed", code=error.code, detail=error.detail)
            elsewhere = error.code in NOT_OF_THE_JOB
            record = await self._insist(
                run, lambda: self._store.fail(run.claim.lease, error, elsewhere=elsewhere)
            )
            run.attempt.end("failed", error)
            self._jobs.release(run, "lost")
            if record.status.ended:
                self._jobs.counters.ended(record)
            else:
                run.log.info("job left to another worker")
                self._jobs.counters.departed("failed")
                await self.ring(run.id)
        self._jobs.failures += error.code not in OF_THE_REQUEST
        self._failed()

    async def _release(self, run: Run, report: Released) -> None:
        """Give a job back whose images have left the engine, unless its lease is lost."""
        self._free(run, list(run.in_slots))
        async with run.lock:
            if run.ended:
                return
            reason = run.leaving or "drain"
            if reason != "lost":
                run.saved |= {saved.image: saved for saved in report.saved}
                await self._give_back(run, reason)
            self._jobs.close(run, None)

    async def _give_back(self, run: Run, reason: RequeueReason) -> None:
        await self._write_saved(run)
        await self._progress([run])
        try:
            record = await self._insist(run, lambda: self._store.requeue(run.claim.lease, reason))
        except StaleFence:
            return
        run.log.info("job given back", reason=reason, step=record.step)
        await self.ring(run.id)

    async def ring(self, ring: str) -> None:
        """Ring again for a job that this worker does not finish."""
        try:
            await self._doorbell.ring(self._info.name, ring)
        except TransientStoreError:
            log.warning("ring lost; a sweep makes up for it")

    async def _insist(self, run: Run, call: Callable[[], Awaitable[T]]) -> T:
        """Make a write that must not be lost, for as long as the job is ours.

        Raises:
            StaleFence: the job's lease is lost.
        """
        try:
            return await self._jobs.retried(call, lambda: run.leaving != "lost")
        except StaleFence:
            self._jobs.lose([run])
            raise
        except TransientStoreError as error:
            raise StaleFence(run.id) from error

    def abandon(self) -> None:
        """Cancel what is being written beside the rounds."""
        for task in tuple(self._tasks):
            task.cancel()

    def spawn(self, work: Coroutine[Any, Any, None], run: Run | None = None) -> None:
        """Do some work beside the rounds; if it fails, ``run`` is left to other workers."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(lambda ended: self._ended(ended, run))

    def _ended(self, task: asyncio.Task[None], run: Run | None) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is None or isinstance(error, StaleFence):
            return
        log.error("publisher task failed", exc_info=error)
        if run is not None:  # or its lease would be renewed forever
            self._jobs.lose([run])


def _shape(saved: Saved) -> tuple[int, int, int, int]:
    k, c, h, w = saved.state.shape
    return k, c, h, w
