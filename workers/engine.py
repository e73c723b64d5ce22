"""The engine: one thread owns the device and advances every picture a row a tick.

Jobs join and leave between ticks. The tick touches no network, no disk and encodes no file; what
does not wait for the network's answer (opening slots, drawing noise, decoding, reporting, half of
a step) is done beside the forward pass.
"""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from time import monotonic, perf_counter

import structlog
from torch import Tensor

from diffusion.bundle import Bundle
from diffusion.errors import DiffusionError
from workers.aftermath import OUT_OF_MEMORY, Aftermath
from workers.aside import Errand, aside_for
from workers.batcher import Batcher
from workers.forward import Carried, Evaluated, carried, draw, evaluate
from workers.messages import Admitted, Failed, Picture, Report
from workers.opening import Opening
from workers.pace import Pace
from workers.slot import Slot

log = structlog.get_logger()
SETTLED_S = 1.0
"""Busy time with full batches after which it says more of the speed than the calibration does."""


@dataclass(frozen=True)
class EngineSettings:
    """How the engine runs."""

    slots: int = 20
    rows_per_tick: int = 16  # forward rows; a guided picture costs two
    deterministic: bool = False  # pad every batch to rows_per_tick
    checkpoint_s: float = 1.0  # between two turns of saving every picture that moved
    preview_s: float = 0.2  # between two previews of a picture, about
    ageing: float = 0.25
    class_share: float = 0.05
    units_per_s: float = 0.0  # with full batches, as measured before the start; 0: unknown


@dataclass
class EngineStats:
    """Counters since the start; seconds are of the engine thread."""

    ticks: int = 0
    ticked_at: float = 0.0  # perf_counter() at the end of the last tick
    rows: int = 0  # forward rows, padding left out
    evaluations: int = 0  # pictures advanced
    model_s: float = 0.0
    step_s: float = 0.0
    overhead_s: float = 0.0
    slots_used: int = 0
    passes_used: int = 0  # forward rows that one evaluation of every slot takes
    remaining_rows: int = 0
    rows_per_s: float = 0.0  # while busy, over the last seconds
    units_per_s: float = 0.0  # with full batches: calibrated, then over the last seconds of them


class Engine:
    """Step-level continuous batching over one model."""

    def __init__(
        self, bundle: Bundle, settings: EngineSettings, report: Callable[[Report], None]
    ) -> None:
        self._bundle = bundle
        self._settings = settings
        self._aside = aside_for(bundle.device)
        self._opening = Opening(bundle)
        self._aftermath = Aftermath(bundle, report, settings.preview_s)
        self._batcher = Batcher(settings.rows_per_tick, settings.ageing, settings.class_share)
        self._slots: dict[tuple[str, int], Slot] = {}
        self._waiting: deque[tuple[Picture, Errand[tuple[Slot, bool]]]] = deque()
        self._commands: deque[Callable[[], None]] = deque()
        self._wake = threading.Condition()
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._pace = Pace()
        self._full_pace = Pace()
        self._last_tick_at = monotonic()
        self._saved_at = monotonic()
        self._busy = False
        self.stats = EngineStats(units_per_s=settings.units_per_s)

    @property
    def rows_per_tick(self) -> int:
        """The bound on forward rows: the setting's, or less after the device ran out of memory."""
        return self._batcher.rows_per_tick

    def start(self) -> None:
        """Start the engine thread."""
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop after the tick under way; pictures still here are dropped."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        if self._thread is not None:
            self._thread.join()
        self._aside.close()

    def submit(self, picture: Picture) -> None:
        """Queue a picture for the next free slot. Thread-safe."""
        opened = self._aside.submit(partial(self._opening.open, picture))
        self.call(lambda: self._waiting.append((picture, opened)))

    def release(self, job_id: str) -> None:
        """Let a job's rows leave at the next tick, reported with their last states. Thread-safe."""
        self.call(lambda: self._release(job_id))

    def healthy(self, limit_s: float) -> bool:
        """Whether the engine is idle or has ticked within ``limit_s``."""
        return not self._busy or self.silent_s < limit_s

    @property
    def silent_s(self) -> float:
        """Seconds since the last tick while there is something to do, else 0."""
        return max(0.0, monotonic() - self._last_tick_at) if self._busy else 0.0

    def call(self, call: Callable[[], None]) -> None:
        """Have the engine thread make a call before its next tick. Thread-safe."""
        with self._wake:
            self._commands.append(call)
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not (self._stopping or self._commands or self._slots):
                    self._busy = False
                    self._wake.wait()
                if self._stopping:
                    return
                if not self._busy:
                    self._last_tick_at = monotonic()
                    self._busy = True
            self.tick()

    def tick(self) -> bool:
        """Do one tick: commands, admission, one evaluation. False when there was nothing to do."""
        started = perf_counter()
        while self._commands:
            self._commands.popleft()()
        self._admit()
        chosen = [
            self._slots[candidate.key]  # type: ignore[index]
            for candidate in self._batcher.choose(s.candidate for s in self._slots.values())
        ]
        chosen.sort(key=lambda slot: -slot.guidance.passes)  # guided rows come first in a pass
        if not chosen:
            self._aftermath.take()()
            self._take_stock()
            return False
        full = self._full(chosen)
        for slots, evaluated in self._evaluate(chosen):
            self._apply(slots, evaluated)
        self._last_tick_at = monotonic()
        self._save()
        if not self._slots:
            self._aftermath.take()()  # no forward pass will come to do it beside
        self._measure(perf_counter() - started, chosen, full)
        return True

    def _full(self, chosen: Sequence[Slot]) -> bool:
        """Whether more work would not make this tick larger."""
        rows = sum(slot.guidance.passes for slot in chosen)
        some_wait = len(chosen) < len(self._slots) or len(self._slots) >= self._settings.slots
        return some_wait or rows >= self.rows_per_tick

    def _measure(self, seconds: float, chosen: Sequence[Slot], full: bool) -> None:
        stats = self.stats
        rows = sum(slot.guidance.passes for slot in chosen)
        stats.ticks += 1
        stats.ticked_at = perf_counter()
        stats.rows += rows
        stats.evaluations += len(chosen)
        stats.overhead_s += seconds
        self._take_stock()
        self._pace.add(seconds, rows)
        stats.rows_per_s = self._pace.per_s
        if full:
            self._full_pace.add(seconds, sum(slot.units for slot in chosen))
            if self._full_pace.seconds >= SETTLED_S:
                stats.units_per_s = self._full_pace.per_s

    def _take_stock(self) -> None:
        candidates = [slot.candidate for slot in self._slots.values()]
        self.stats.slots_used = len(candidates)
        self.stats.passes_used = sum(candidate.passes for candidate in candidates)
        self.stats.remaining_rows = sum(candidate.work for candidate in candidates)

    def _admit(self) -> None:
        while self._waiting and len(self._slots) < self._settings.slots:
            picture, opened = self._waiting.popleft()
            try:
                slot, refused = opened.result()
            except DiffusionError as error:
                self._refuse(picture, "invalid_request", str(error))
            except Exception as error:  # a picture that cannot start must not stop the others
                log.exception("picture cannot start", job_id=picture.job_id)
                self._refuse(picture, "internal", repr(error))
            else:
                slot.candidate.arrived = self._batcher.clock
                self._slots[picture.job_id, picture.image] = slot
                self._aftermath.tell(
                    Admitted(picture.job_id, picture.image, slot.row, slot.program.rows, refused)
                )

    def _evaluate(self, chosen: list[Slot]) -> list[tuple[list[Slot], Evaluated]]:
        """Evaluate the chosen slots, in smaller batches where the device or a row forces it."""
        pad_to = self._batcher.rows_per_tick if self._settings.deterministic else None
        try:
            return [(chosen, evaluate(self._bundle, chosen, pad_to, self._beside(chosen)))]
        except OUT_OF_MEMORY as error:
            lowered = self._batcher.lower(pad_to or sum(slot.guidance.passes for slot in chosen))
            if len(chosen) == 1 and not (lowered and pad_to is not None):
                self._fail(chosen[0], "out_of_memory", str(error) or "the device is out of memory")
                return []
            log.warning("out of memory", rows_per_tick=self.rows_per_tick)
            return [part for slots in self._split(chosen) for part in self._evaluate(slots)]
        except Exception as error:  # one row's fault must not reach its neighbours
            if len(chosen) == 1:
                log.exception("evaluation failed", job_id=chosen[0].picture.job_id)
                self._fail(chosen[0], "internal", repr(error))
                return []
            return [part for slot in chosen for part in self._evaluate([slot])]

    def _beside(self, slots: list[Slot]) -> Callable[[Tensor], Errand[Carried]]:
        """Return a call that lets another thread do what the last tick left and begin the step."""

        def do(state: Tensor, aftermath: Callable[[], None]) -> Carried:
            try:
                drawn = draw(slots)
            finally:
                aftermath()  # whatever becomes of this tick, the last one's reports go out
            return carried(state, drawn)  # last: copies to a device may wait for its pass

        return lambda state: self._aside.submit(partial(do, state, self._aftermath.take()))

    def _split(self, slots: list[Slot]) -> Iterator[list[Slot]]:
        """Yield the slots in parts that the bound allows, in at least two where they are many."""
        bound = min(self.rows_per_tick, sum(slot.guidance.passes for slot in slots) - 1)
        part: list[Slot] = []
        rows = 0
        for slot in slots:
            if part and rows + slot.guidance.passes > bound:
                yield part
                part, rows = [], 0
            part.append(slot)
            rows += slot.guidance.passes
        yield part

    def _apply(self, slots: list[Slot], evaluated: Evaluated) -> None:
        self.stats.model_s += evaluated.model_s
        self.stats.step_s += evaluated.step_s
        self.stats.overhead_s -= evaluated.model_s + evaluated.step_s
        self._batcher.served(slot.candidate for slot in slots)
        moved = []
        for i, slot in enumerate(slots):
            slot.evaluations += slot.guidance.passes
            if not evaluated.finite[i]:
                at = f"row {slot.row}, sigma {slot.program.sigmas[slot.row]:.4g}"
                self._fail(slot, "non_finite", f"the model returned a non-finite value at {at}")
                continue
            slot.state = evaluated.state[i]
            slot.row += 1
            moved.append(slot)
        rows = sum(slot.guidance.passes for slot in slots)
        seconds = evaluated.model_s + evaluated.step_s
        self._aftermath.advanced(self.stats.ticks, moved, rows, seconds)
        self._aftermath.save([s for s in moved if s.picture.early and s.row == 1 and not s.done])
        self._aftermath.preview(slots, evaluated.denoised, evaluated.finite)
        for slot in moved:
            if slot.done:
                self._finish(slot)

    def _save(self) -> None:
        """Report the states of all pictures that moved since they were saved, all in one turn."""
        if self._last_tick_at - self._saved_at < self._settings.checkpoint_s:
            return
        self._saved_at = self._last_tick_at
        self._aftermath.save(list(self._slots.values()))

    def _finish(self, slot: Slot) -> None:
        del self._slots[slot.picture.job_id, slot.picture.image]
        self._aftermath.finish(slot)

    def _fail(self, slot: Slot, code: str, detail: str) -> None:
        self._slots.pop((slot.picture.job_id, slot.picture.image), None)
        self._refuse(slot.picture, code, detail)

    def _refuse(self, picture: Picture, code: str, detail: str) -> None:
        self._aftermath.tell(Failed(picture.job_id, picture.image, code, detail))

    def _release(self, job_id: str) -> None:
        leaving = [slot for key, slot in self._slots.items() if key[0] == job_id]
        for slot in leaving:
            del self._slots[slot.picture.job_id, slot.picture.image]
        self._waiting = deque(entry for entry in self._waiting if entry[0].job_id != job_id)
        self._aftermath.release(job_id, leaving)
