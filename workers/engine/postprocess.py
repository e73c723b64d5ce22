"""Postprocessing of a tick: copying states, decoding and reporting, deferred to the next pass."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from itertools import accumulate
from time import monotonic, time

import numpy as np
import structlog
from numpy.typing import NDArray
from torch import Tensor

from diffusion.bundle.bundle import Bundle
from diffusion.errors import NonFiniteError
from diffusion.parts.safety import SafetyChecker
from diffusion.schedules.schedule import sample_scale
from workers.engine.device_errors import failure_code, free_memory, is_broken, is_out_of_memory
from workers.engine.forward import Evaluated
from workers.engine.messages import Advanced, Failed, Finished, Previewed, Released, Report
from workers.engine.slot import Slot

log = structlog.get_logger()


A_TICK_PIXELS = 8 * 2**20
"""Images of so many pixels are previewed beside one forward pass at most, or one image."""
AT_ONCE_PIXELS = 2**20
"""And of so many in one call of the decoder: a VAE takes 3 GB for them."""


def fitting(pixels: Sequence[int], most: int) -> int:
    """Return how many of these, in their order, fit; one does in any case."""
    totals = list(accumulate(pixels))
    return max(min(1, len(totals)), bisect_right(totals, most))


class Postprocess:
    """Collects tasks on the engine thread; they run in order while the next forward pass does.

    Slots do not change in between, so a task may read them when it runs.
    """

    def __init__(
        self,
        bundle: Bundle,
        report: Callable[[Report], None],
        preview_s: float,
        safety: SafetyChecker | None = None,
    ) -> None:
        """``safety`` sees every picture that leaves the engine; None: none is checked."""
        self._bundle = bundle
        self._safety = safety
        self._report = report
        self._preview_s = preview_s
        self._previewed_at = 0.0
        self._tasks: list[Callable[[], None]] = []
        self._finished: deque[Slot] = deque()  # to be decoded
        self._pass_s = 0.0  # of the last pass

    @property
    def waits(self) -> bool:
        """Whether finished images wait to be decoded."""
        return bool(self._finished)

    def run(self) -> None:
        """Run the tasks collected so far, then decode finished images.

        Once that has taken as long as the last pass, the others wait for the next call: images
        under way are not held up for long by a decoder.
        """
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            try:
                task()
            except Exception as error:
                if is_broken(error):
                    raise
                # A preview that cannot be decoded must not hold up the next report.
                log.exception("postprocessing failed")
        until = monotonic() + self._pass_s
        while self._finished:
            self._finish(self._finished.popleft())
            if monotonic() >= until:
                break

    def report(self, report: Report) -> None:
        """Report something after what was collected before."""
        self._tasks.append(partial(self._report, report))

    def advanced(self, tick: int, evaluated: Evaluated, moved: Sequence[Slot]) -> None:
        """Report the progress of slots after a forward pass that has just ended.

        Previews that are due, first checkpoints and finished images are reported too.
        """
        early = [s for s in moved if s.request.early and s.row == 1 and not s.done]
        self._tasks.append(partial(self._progress, tick, evaluated, moved, time()))
        self._tasks.append(partial(self._save, early))
        self._tasks.append(partial(self._preview, evaluated))
        self._tasks.append(partial(self._finished.extend, [s for s in moved if s.done]))
        self._pass_s = evaluated.model_s + evaluated.step_s

    def save(self, slots: Sequence[Slot]) -> None:
        """Report the states of all slots that have moved since their last checkpoint."""
        self._tasks.append(partial(self._save, slots))

    def release(self, job_id: str, slots: Sequence[Slot]) -> None:
        """Report that a job's slots are free, with their states; first its finished images."""
        self._tasks.append(partial(self._release, job_id, slots))

    def _release(self, job_id: str, slots: Sequence[Slot]) -> None:
        for slot in [slot for slot in self._finished if slot.request.job_id == job_id]:
            self._finished.remove(slot)
            self._finish(slot)
        self._report(Released(job_id, tuple(slot.save() for slot in slots)))

    def _progress(
        self, tick: int, evaluated: Evaluated, moved: Sequence[Slot], ended_at: float
    ) -> None:
        images = tuple(slot.progress() for slot in moved)
        seconds = evaluated.model_s + evaluated.step_s
        self._report(Advanced(tick, images, evaluated.rows, seconds, ended_at))

    def _save(self, slots: Sequence[Slot]) -> None:
        for slot in slots:
            if slot.row > slot.saved_row:
                self._report(slot.save())

    def _preview(self, evaluated: Evaluated) -> None:
        """Decode what is due, a bounded number of pixels at a time."""
        due = self._due(evaluated)
        while due:
            count = fitting([slot.pixels for _, slot in due], AT_ONCE_PIXELS)
            self._decode_previews(evaluated, due[:count])
            due = due[count:]

    def _decode_previews(self, evaluated: Evaluated, due: Sequence[tuple[int, Slot]]) -> None:
        now = monotonic()
        for _, slot in due:
            slot.preview_at = now
        try:
            pixels = self._bundle.preview(self._shown(evaluated, due))
        except NonFiniteError as error:
            log.warning("previews dropped", reason=str(error))
            pixels = None
        except Exception as error:
            if not is_out_of_memory(error):
                raise
            free_memory(self._bundle.device)
            log.warning("no memory for previews; they are tried again later")
            return
        for _, slot in due:
            slot.preview_step = slot.step
        if pixels is None:
            return
        for (_, slot), shown, flagged in zip(due, pixels, self._flags(pixels), strict=True):
            if not flagged:
                self._report(Previewed(*slot.request.key, slot.preview_step, shown))

    def _shown(self, evaluated: Evaluated, due: Sequence[tuple[int, Slot]]) -> Tensor:
        """Return the latents (n, C, h, w) to preview: estimates, or the samples after the row."""
        latents = evaluated.denoised[[i for i, _ in due]]
        for at, (i, slot) in enumerate(due):
            if slot.request.preview_sample:
                sigma = float(slot.plan.table.sigmas[slot.row])
                scale = sample_scale(self._bundle.noise_schedule, sigma)
                latents[at] = evaluated.state[i, 0] * scale
        return latents

    def _flags(self, pixels: NDArray[np.uint8]) -> Sequence[bool]:
        return [False] * len(pixels) if self._safety is None else self._safety.flags(pixels)

    def _due(self, evaluated: Evaluated) -> Sequence[tuple[int, Slot]]:
        """Return the slots to preview now, each with its place in the batch.

        Previews are decoded at most every ``preview_s``. An image takes part if its last preview is
        half as old; a first preview does not wait for its turn. Beyond a number of pixels, those
        that have waited longest go first and the others wait for the next turn.
        """
        now = monotonic()
        turn = now - self._previewed_at >= self._preview_s
        due = [
            (i, slot)
            for i, slot in enumerate(evaluated.slots)
            if evaluated.finite[i]
            and slot.request.preview
            and (turn or not slot.preview_step)
            and slot.step - slot.preview_step >= slot.request.preview
            and now - slot.preview_at >= self._preview_s / 2
            and not slot.done
        ]
        if due and turn:
            self._previewed_at = now
        due.sort(key=lambda each: each[1].preview_at)
        return due[: fitting([slot.pixels for _, slot in due], A_TICK_PIXELS)]

    def _finish(self, slot: Slot) -> None:
        """Decode a finished image by itself and report it."""
        try:
            (pixels,) = images = self._decode(slot)
            (flagged,) = self._flags(images)
        except Exception as error:  # it fails this image alone, unless the device is broken
            code = failure_code(error)
            log.exception("decoding failed", job_id=slot.request.job_id)
            detail = str(error) if code == "non_finite" else repr(error)
            self._report(Failed(*slot.request.key, code, detail))
            return
        self._report(Finished(*slot.request.key, pixels, flagged, slot.early))

    def _decode(self, slot: Slot) -> NDArray[np.uint8]:
        """Return the image of a batch of one, (1, H, W, 3)."""
        try:
            return self._bundle.decode(slot.state[:1])
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        free_memory(self._bundle.device)  # of batches, which are larger
        try:
            return self._bundle.decode(slot.state[:1])
        except Exception as error:
            if not is_out_of_memory(error):
                raise
        free_memory(self._bundle.device)
        log.warning("no memory to decode an image whole", job_id=slot.request.job_id)
        return self._bundle.decode(slot.state[:1], tiled=True)
