"""What a tick leaves to do once the device has gone on: decoding, copying states, reporting."""

from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic, time

import structlog
import torch
from torch import Tensor

from diffusion.bundle import Bundle
from workers.messages import Advanced, Failed, Finished, Previewed, Released, Report
from workers.slot import Slot

log = structlog.get_logger()
OUT_OF_MEMORY = (torch.OutOfMemoryError, MemoryError)


class Aftermath:
    """Collects errands on the engine thread; they are run in order before the next tick is applied.

    Slots do not move in between, so an errand may look at them when it is run.
    """

    def __init__(self, bundle: Bundle, report: Callable[[Report], None], preview_s: float) -> None:
        self._bundle = bundle
        self._report = report
        self._preview_s = preview_s
        self._previewed_at = 0.0
        self._errands: list[Callable[[], None]] = []

    def take(self) -> Callable[[], None]:
        """Return a call that does everything collected so far; the collection is empty again."""
        errands, self._errands = self._errands, []
        return partial(_run, errands)

    def tell(self, report: Report) -> None:
        """Report something after what was collected before."""
        self._errands.append(partial(self._report, report))

    def advanced(self, tick: int, slots: Sequence[Slot], rows: int, seconds: float) -> None:
        """Tell where the slots stand after a forward pass of so many rows, which has just ended."""
        at = time()

        def tell() -> None:
            standings = tuple(slot.standing() for slot in slots)
            self._report(Advanced(tick, standings, rows, seconds, at))

        self._errands.append(tell)

    def save(self, slots: Sequence[Slot]) -> None:
        """Report the states of all slots that have moved since they were saved."""

        def save() -> None:
            for slot in slots:
                if slot.row > slot.saved_row:
                    self._report(slot.save())

        self._errands.append(save)

    def release(self, job_id: str, slots: Sequence[Slot]) -> None:
        """Tell that a job's slots have left, with their states."""
        self._errands.append(
            lambda: self._report(Released(job_id, tuple(slot.save() for slot in slots)))
        )

    def preview(self, slots: Sequence[Slot], denoised: Tensor, finite: Sequence[bool]) -> None:
        """Decode the estimates (B, C, h, w) of slots whose previews are due, and report them."""

        def preview() -> None:
            due = self._due([(i, slot) for i, slot in enumerate(slots) if finite[i]])
            if not due:
                return
            pixels = self._bundle.decode(denoised[[i for i, _ in due]])
            for (_, slot), shown in zip(due, pixels, strict=True):
                job_id, image = slot.picture.job_id, slot.picture.image
                self._report(Previewed(job_id, image, slot.preview_step, shown))

        self._errands.append(preview)

    def _due(self, slots: Sequence[tuple[int, Slot]]) -> Sequence[tuple[int, Slot]]:
        """Return those of the slots, each with its place, that are shown now.

        Pictures are decoded together: a turn comes at most every ``preview_s``, a picture takes
        part where its last one is half that old, and a first preview waits for no turn.
        """
        now = monotonic()
        turn = now - self._previewed_at >= self._preview_s
        due = [
            (i, slot)
            for i, slot in slots
            if slot.picture.preview
            and (turn or not slot.preview_step)
            and slot.step - slot.preview_step >= slot.picture.preview
            and now - slot.preview_at >= self._preview_s / 2
            and not slot.done
        ]
        if due and turn:
            self._previewed_at = now
        for _, slot in due:
            slot.preview_at, slot.preview_step = now, slot.step
        return due

    def finish(self, slot: Slot) -> None:
        """Decode a picture that is done, by itself, and report it."""

        def finish() -> None:
            job_id, image = slot.picture.job_id, slot.picture.image
            try:
                pixels = self._bundle.decode(slot.state[:1], alone=True)[0]
            except Exception as error:  # a decoder out of memory fails this picture alone
                code = "out_of_memory" if isinstance(error, OUT_OF_MEMORY) else "internal"
                log.exception("decoding failed", job_id=job_id)
                self._report(Failed(job_id, image, code, repr(error)))
                return
            self._report(Finished(job_id, image, slot.evaluations, pixels))

        self._errands.append(finish)


def _run(errands: Sequence[Callable[[], None]]) -> None:
    for errand in errands:
        try:
            errand()
        except Exception:  # a preview that cannot be decoded must not keep back the next report
            log.exception("something was left undone after a tick")
