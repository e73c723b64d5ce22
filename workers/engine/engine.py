"""The engine: one thread owns the device and advances images by one row a tick.

Images join and leave between ticks. The tick touches no network, no disk and encodes no file; what
does not depend on the network's prediction (opening slots, drawing noise, postprocessing of the
last tick, half of a step) overlaps with the forward pass.
"""

import threading
from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from time import monotonic, perf_counter

import structlog

from diffusion.bundle.bundle import Bundle
from diffusion.errors import DiffusionError
from diffusion.parts.safety import SafetyChecker
from jobs.host.scheduling import compete
from workers.engine.admission import SlotAdmission
from workers.engine.batcher import Batcher
from workers.engine.device_errors import failure_code, free_memory, is_out_of_memory
from workers.engine.forward import Evaluated, Overlap, Pending, evaluate
from workers.engine.growth import Growth
from workers.engine.messages import Failed, ImageRequest, Report
from workers.engine.postprocess import Postprocess
from workers.engine.slot import Slot
from workers.engine.throughput import EngineStats

log = structlog.get_logger()

CHECKPOINT_BYTES_PER_S = 2 * 2**20
"""What the states of all images may take of the way to the store; SDXL's are 256 KiB a register."""

SAME_KERNELS = 4
"""Rows that libraries compute at once."""


@dataclass(frozen=True)
class EngineSettings:
    """How the engine runs."""

    slots: int = 20
    rows_per_tick: int = 16  # forward rows; a guided image costs two
    deterministic: bool = False  # pad every batch to rows_per_tick
    batch_sizes: Sequence[int] = ()  # else pad it to the next of these, in ascending order
    checkpoint_s: float = 1.0  # between two checkpoints of every image, at least; 0: each tick
    preview_s: float = 0.2  # between two previews of an image, about
    ageing: float = 0.25
    class_share: float = 0.05
    units_per_s: float = 0.0  # with full batches, as calibrated; 0: unknown

    @property
    def most_rows(self) -> int:
        """The bound on forward rows.

        Where bytes have to be equal it is a multiple of 4 if it can: the last rows of other batches
        go through other kernels of the CPU's libraries.
        """
        rows = self.rows_per_tick
        return rows - rows % SAME_KERNELS if self.deterministic and rows > SAME_KERNELS else rows


class Engine:
    """Step-level continuous batching over one model."""

    def __init__(
        self,
        bundle: Bundle,
        settings: EngineSettings,
        report: Callable[[Report], None],
        failed: Callable[[Exception], None] = lambda _: None,
        safety: SafetyChecker | None = None,
        turns: AbstractContextManager[None] | None = None,
        stats: EngineStats | None = None,
    ) -> None:
        """``failed`` is called on the engine's thread as its last act if it cannot go on.

        A tick waits for its ``turns`` on a device that other engines use, too. An engine of a model
        that was unloaded meanwhile goes on counting in its former ``stats``.
        """
        self._bundle = bundle
        self._failed = failed
        self._settings = settings
        self._overlap = Overlap(bundle.device)
        self._admission = SlotAdmission(bundle, deterministic=settings.deterministic)
        self._postprocess = Postprocess(bundle, report, settings.preview_s, safety)
        self._batcher = Batcher(settings.most_rows, settings.ageing, settings.class_share)
        self._slots: dict[tuple[str, int], Slot] = {}
        self._waiting: deque[tuple[ImageRequest, Pending[tuple[Slot, bool]]]] = deque()
        self._calls: deque[Callable[[], None]] = deque()
        self._ending: set[str] = set()  # jobs whose images end with their next evaluation
        self._wake = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._last_tick_at = monotonic()
        self._save_at = monotonic() + settings.checkpoint_s
        self._growth = Growth()
        self._busy = False
        self._turns = turns or nullcontext()
        self.stats = stats or EngineStats(settings.units_per_s)

    @property
    def rows_per_tick(self) -> int:
        """The bound on forward rows: the setting's, or less after the device ran out of memory."""
        return self._batcher.rows_per_tick

    @property
    def doubts(self) -> bool:
        """Whether the next tick evaluates a row again that gave a non-finite value."""
        return any(slot.doubted for slot in self._slots.values())

    @property
    def silent_s(self) -> float:
        """Seconds since the last tick while there is work, else 0."""
        return max(0.0, monotonic() - self._last_tick_at) if self._busy else 0.0

    @property
    def _works(self) -> bool:
        return bool(self._slots) or self._postprocess.waits

    def start(self) -> None:
        """Start the engine thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop after the current tick; images still here are dropped."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.join()
        self._overlap.close()

    def submit(self, request: ImageRequest) -> None:
        """Queue a request for the next free slot. Thread-safe."""
        opened = self._overlap.submit(partial(self._admission.open, request))
        self.call(lambda: self._waiting.append((request, opened)))

    def release(self, job_id: str) -> None:
        """Free a job's slots before the next tick and report their states. Thread-safe."""
        self.call(lambda: self._release(job_id))

    def finish_now(self, job_id: str) -> None:
        """End a job's images here with the estimates of their next evaluation. Thread-safe."""
        self.call(lambda: self._ending.add(job_id))

    def call(self, call: Callable[[], None]) -> None:
        """Have the engine thread make a call before its next tick. Thread-safe."""
        with self._wake:
            self._calls.append(call)
            self._wake.notify()

    def _run(self) -> None:
        compete()
        try:
            while self._wait_for_work():
                with self._turns:
                    self.tick()
        except Exception as error:  # the images here are left to other processes
            self._failed(error)

    def _wait_for_work(self) -> bool:
        """Return True once there is work, False once the engine stops."""
        with self._wake:
            while not (self._stopping or self._calls or self._waiting or self._works):
                self._busy = False
                self._wake.wait()
            if not (self._stopping or self._busy):
                self._last_tick_at = monotonic()
                self._busy = True
            return not self._stopping

    def tick(self) -> bool:
        """Schedule, evaluate, advance, report; return False once there is nothing left to do.

        Raises:
            Exception: the device is broken. No image is failed for it.
        """
        started = perf_counter()
        self._admit()
        batch = self._schedule()
        if not batch:
            self._report()
            return self._postprocess.waits
        full = self._is_full(batch)
        passes = self._evaluate(batch)
        self._advance(passes)
        self._report()
        self.stats.ticked(perf_counter() - started, passes, full)
        return True

    def _admit(self) -> None:
        """Make the calls from other threads and fill free slots.

        Images that are being drawn do not wait for another one's prompt to be encoded, or where
        nothing overlaps for those of one image a tick.
        """
        while self._calls:
            self._calls.popleft()()
        here = 0
        while self._waiting and len(self._slots) < self._settings.slots:
            request, opened = self._waiting[0]
            if self._slots and (here or not opened.done()):
                break
            self._waiting.popleft()
            here += not self._overlap.overlaps
            try:
                slot, refused = self._open(request, opened)
            except DiffusionError as error:
                self._fail(request, "invalid_request", str(error))
            except Exception as error:  # an image that cannot start must not stop the others
                log.exception("slot cannot be opened", job_id=request.job_id)
                self._fail(request, failure_code(error), repr(error))
            else:
                slot.candidate.arrived = self._batcher.clock
                self._slots[request.key] = slot
                self._postprocess.report(slot.admitted(refused=refused))

    def _open(self, request: ImageRequest, opened: Pending[tuple[Slot, bool]]) -> tuple[Slot, bool]:
        try:
            return opened()
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        free_memory(self._bundle.device)
        return self._overlap.submit(partial(self._admission.open, request))()

    def _schedule(self) -> list[Slot]:
        """Return the slots of the next forward pass, guided ones first."""
        chosen = self._batcher.choose(slot.candidate for slot in self._slots.values())
        batch = [self._slots[candidate.key] for candidate in chosen]  # type: ignore[index]
        batch.sort(key=lambda slot: -slot.passes)
        return batch

    def _is_full(self, batch: Sequence[Slot]) -> bool:
        """Whether more work would not make this tick larger."""
        some_wait = len(batch) < len(self._slots) or len(self._slots) >= self._settings.slots
        return some_wait or sum(slot.passes for slot in batch) >= self.rows_per_tick

    def _evaluate(self, batch: Sequence[Slot]) -> list[Evaluated]:
        """Evaluate the batch in one pass; after an error one by one, so that one slot fails alone.

        When the device runs out of memory the bound is lowered and the next tick tries again.
        """
        pad_to = self._padded(sum(slot.passes for slot in batch))
        try:
            postprocess = self._postprocess.run
            return [evaluate(self._bundle, batch, pad_to, self._overlap, postprocess)]
        except Exception as error:
            code, detail = failure_code(error), repr(error)
            if code == "out_of_memory":
                free_memory(self._bundle.device)
                lowered = self._batcher.lower(pad_to or sum(slot.passes for slot in batch))
                self._growth.wait_longer(monotonic())
                log.warning("out of memory", rows_per_tick=self.rows_per_tick)
                if lowered and (pad_to is not None or len(batch) > 1):
                    return []
                detail = str(error) or "the device is out of memory"
            elif len(batch) == 1:
                log.exception("evaluation failed", job_id=batch[0].request.job_id)
        if len(batch) > 1:
            return [each for slot in batch for each in self._evaluate([slot])]
        self._fail(batch[0].request, code, detail)
        return []

    def _padded(self, rows: int) -> int | None:
        """Return the size that a batch of so many rows is padded to, if it is."""
        if self._settings.deterministic:
            return self.rows_per_tick
        sizes = self._settings.batch_sizes
        at = bisect_left(sizes, rows)
        return min(sizes[at], self.rows_per_tick) if at < len(sizes) else None

    def _advance(self, passes: Sequence[Evaluated]) -> None:
        """Move the evaluated slots on by a row; free those that are done or not finite."""
        for evaluated in passes:
            self._batcher.served(slot.candidate for slot in evaluated.slots)
            moved = []
            states = evaluated.state.unbind()
            for i, (slot, state) in enumerate(zip(evaluated.slots, states, strict=True)):
                finite = evaluated.finite[i]
                slot.evaluations += slot.passes
                if not finite:
                    if not slot.doubted:
                        slot.doubt()
                        continue
                    at = f"row {slot.row}, sigma {slot.plan.table.sigmas[slot.row]:.4g}"
                    detail = f"the model returned a non-finite value at {at}"
                    self._fail(slot.request, "non_finite", detail)
                    continue
                slot.state = state
                slot.row += 1
                slot.doubted = False
                if slot.request.job_id in self._ending:
                    slot.end_with(evaluated.denoised[i])
                moved.append(slot)
                if slot.done:
                    del self._slots[slot.request.key]
            self._postprocess.advanced(self.stats.ticks, evaluated, moved)
        self._last_tick_at = monotonic()

    def _release(self, job_id: str) -> None:
        leaving = [slot for key, slot in self._slots.items() if key[0] == job_id]
        for slot in leaving:
            del self._slots[slot.request.key]
        self._waiting = deque(entry for entry in self._waiting if entry[0].job_id != job_id)
        self._postprocess.release(job_id, leaving)

    def _fail(self, request: ImageRequest, code: str, detail: str) -> None:
        self._slots.pop(request.key, None)
        self._postprocess.report(Failed(*request.key, code, detail))

    def _grow(self) -> None:
        """Try a larger batch again some time after the device ran out of memory."""
        most = self._settings.most_rows
        if self.rows_per_tick < most and self._growth.is_due(self._last_tick_at):
            self._batcher.grow(most)
            log.info("larger batches again", rows_per_tick=self.rows_per_tick)

    def _until_next_save_s(self, slots: Sequence[Slot]) -> float:
        least_s = self._settings.checkpoint_s
        saved = sum(slot.saved_bytes for slot in slots)
        return least_s and max(least_s, saved / CHECKPOINT_BYTES_PER_S)

    def _report(self) -> None:
        """Report states that are due for a checkpoint, and everything if no pass comes next."""
        self._grow()
        self.stats.occupied(slot.candidate for slot in self._slots.values())
        if self._last_tick_at >= self._save_at:
            slots = list(self._slots.values())
            self._postprocess.save(slots)
            self._save_at = self._last_tick_at + self._until_next_save_s(slots)
        if self._ending:
            here = {job for job, _ in self._slots} | {r.job_id for r, _ in self._waiting}
            self._ending &= here
        if not self._slots:
            self._postprocess.run()
            self._last_tick_at = monotonic()
