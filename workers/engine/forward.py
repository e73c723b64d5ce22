"""One evaluation of a batch of slots, and what overlaps with its forward pass."""

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from math import isfinite
from queue import SimpleQueue
from threading import Thread
from time import perf_counter, sleep
from typing import Generic, TypeVar
from weakref import finalize

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.bundle.bundle import Bundle
from diffusion.denoiser import ForwardPass, prepare
from diffusion.device import sent
from diffusion.samplers.noise import IMAGES, standard_noise
from diffusion.samplers.step import add_noise, coefficients, linear_part, step
from jobs.host.scheduling import yield_to_others
from workers.engine.slot import Slot

T = TypeVar("T")
LEAD_S = 0.0005
"""A first call begins so much later: until the pass runs, two threads would only share the GIL."""


@dataclass(frozen=True)
class Pending(Generic[T]):
    """A call that was taken; calling this returns its result or raises its error."""

    result: Callable[[], T]
    done: Callable[[], bool] = lambda: True

    def __call__(self) -> T:
        """Return the result, waiting for it."""
        return self.result()


class Overlap:
    """Runs calls one after the other while forward passes run.

    On the CPU a thread does, since a pass releases the GIL. Only one thread may touch an
    accelerator, and it computes by itself: there a call runs when its result is asked for.
    """

    def __init__(self, device: torch.device) -> None:
        self._calls = Calls() if device.type == "cpu" else None
        self._device = device
        self._stream: torch.cuda.Stream | None = None  # the second one
        if self._calls is not None:
            self._thread = Thread(target=self._calls.run, name="engine-overlap", daemon=True)
            self._thread.start()
            finalize(self, self._calls.end)

    @property
    def overlaps(self) -> bool:
        """Whether a call runs before its result is asked for."""
        return self._calls is not None

    def submit(self, call: Callable[[], T], *, first: bool = False) -> Pending[T]:
        """Take a call. Thread-safe.

        A ``first`` one goes before those that wait. If another one still runs when its result is
        asked for, the thread that asks makes the call itself.
        """
        if self._calls is None:
            return Pending(call)
        future: Future[T] = Future()
        self._calls.add(partial(_settle, future, call), first=first)
        return Pending(partial(_take_back, future, call) if first else future.result, future.done)

    def on_second_stream(self, call: Callable[[], None]) -> Callable[[], None]:
        """Return a call that waits for what the device was given until now, not for its next pass.

        What it reads back from a CUDA device comes on a second stream.
        """
        if self._device.type != "cuda":
            return call
        if self._stream is None:
            self._stream = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        stream = self._stream
        stream.wait_stream(torch.cuda.current_stream(stream.device))

        def on_stream() -> None:
            with torch.cuda.stream(stream):
                call()

        return on_stream

    def close(self) -> None:
        """Finish the calls that were submitted and end the thread."""
        if self._calls is not None:
            self._calls.end()
            self._thread.join()


class Calls:
    """Calls for one thread, which a plain queue wakes in less than half an executor's time."""

    def __init__(self) -> None:
        self._first: deque[Callable[[], None]] = deque()
        self._later: deque[Callable[[], None]] = deque()
        self._more: SimpleQueue[bool] = SimpleQueue()

    def add(self, call: Callable[[], None], *, first: bool) -> None:
        """Add one."""
        (self._first if first else self._later).append(call)
        self._more.put(True)

    def end(self) -> None:
        """Have :meth:`run` return once it has made the calls that were added before."""
        self._more.put(False)

    def run(self) -> None:
        """Make them one after the other."""
        yield_to_others()
        while self._more.get():
            if self._first:
                sleep(LEAD_S)
            call = (self._first or self._later).popleft()
            call()
            del call  # and its tensors, while none waits


def _settle(future: Future[T], call: Callable[[], T]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(call())
    except BaseException as error:
        future.set_exception(error)


def _take_back(future: Future[T], call: Callable[[], T]) -> T:
    return call() if future.cancel() else future.result()


@dataclass(frozen=True)
class Evaluated:
    """The result of one evaluation; the slots are as they were before."""

    slots: Sequence[Slot]
    denoised: Tensor  # (B, C, h, w)
    state: Tensor  # (B, K, C, h, w), after the row
    finite: Sequence[bool]
    model_s: float
    step_s: float

    @property
    def rows(self) -> int:
        """Forward rows, padding left out."""
        return sum(slot.passes for slot in self.slots)


@torch.inference_mode()
def evaluate(
    bundle: Bundle,
    slots: Sequence[Slot],
    pad_to: int | None,
    overlap: Overlap,
    postprocess: Callable[[], None],
) -> Evaluated:
    """Evaluate each slot's current row in one forward pass; guided slots come first.

    ``postprocess`` is called beside the pass, and noise drawn.
    """
    started = perf_counter()
    inputs = prepare(
        [slot.state[0] for slot in slots],
        [slot.plan.levels[slot.row] for slot in slots],
        [slot.guidance for slot in slots],
        pad_to=pad_to,
        clip=bundle.clip,
    )
    beside = overlap.on_second_stream(postprocess)
    if overlap.overlaps:
        denoised, after, finite, modelled = _in_two_threads(bundle, inputs, slots, overlap, beside)
    else:
        denoised, after, finite, modelled = _on_device(bundle, inputs, slots, beside)
    return Evaluated(slots, denoised, after, finite, modelled - started, perf_counter() - modelled)


Advanced = tuple[Tensor, Tensor, Sequence[bool], float]
"""D (B, C, h, w), the states (B, K, C, h, w), whether each D is finite, and when the pass ended."""


def _in_two_threads(
    bundle: Bundle,
    inputs: ForwardPass,
    slots: Sequence[Slot],
    overlap: Overlap,
    beside: Callable[[], None],
) -> Advanced:
    """Compute what does not depend on the network while the pass runs."""
    precomputed = overlap.submit(partial(_precompute, inputs, slots, beside), first=True)
    try:
        prediction = inputs.predict(bundle.backbone)
    finally:
        modelled = perf_counter()
        linear_part, weight = precomputed()
    denoised = inputs.denoised(prediction)
    after = step(linear_part, denoised, weight)
    # A state is a sum of estimates and noise: a fault shows in the estimate that brought it.
    finite = [True] * len(slots)
    if not isfinite(denoised.sum()):
        finite = torch.isfinite(denoised.sum((1, 2, 3))).tolist()
    return denoised, after, finite, modelled


def _precompute(
    inputs: ForwardPass, slots: Sequence[Slot], beside: Callable[[], None]
) -> tuple[Tensor, Tensor]:
    """Return A·S + c·ε (B, K, C, h, w) and b (B, K), the weight of the denoised estimate."""
    try:
        packed, noise = _packed(slots), _noise(slots)
    finally:
        beside()  # the last tick's reports go out even if this tick fails
    _ = inputs.skipped  # the part of the estimate that does not wait for the network
    with torch.inference_mode():
        state = _states(slots)
        mix, weight, noise_weight = coefficients(torch.from_numpy(packed), state.shape[1])
        drawn = None if noise is None else torch.from_numpy(noise)
        return linear_part(state, drawn, mix, noise_weight), weight


def _on_device(
    bundle: Bundle, inputs: ForwardPass, slots: Sequence[Slot], beside: Callable[[], None]
) -> Advanced:
    """Launch the pass and the step as one, and do the rest while the device computes."""
    try:
        every = [*slots, *[slots[0]] * (len(inputs.latents) - len(slots))]
        packed = sent(_packed(every), bundle.device)
        denoised, after, finite = bundle.advance(inputs, _states(every), packed)
        noise = _noise(slots)
    finally:
        beside()  # the last tick's reports go out even if this tick fails
    denoised, after = denoised[: len(slots)], after[: len(slots)]
    if noise is not None:
        _, _, noise_weight = coefficients(packed[: len(slots)], after.shape[1])
        add_noise(after, sent(noise, bundle.device), noise_weight)
    modelled = perf_counter()
    return denoised, after, finite[: len(slots)].tolist(), modelled


def _states(slots: Sequence[Slot]) -> Tensor:
    return torch.stack([slot.state for slot in slots])


def _packed(slots: Sequence[Slot]) -> NDArray[np.float32]:
    return np.stack([slot.plan.packed[slot.row] for slot in slots])


def _noise(slots: Sequence[Slot]) -> NDArray[np.float32] | None:
    """Return the noise of each slot's row (B, C, h, w), zero where it takes none; None for none."""
    noisy = [i for i, slot in enumerate(slots) if slot.plan.noisy[slot.row]]
    if not noisy:
        return None
    shape = tuple(slots[0].state.shape[1:])
    noise = np.zeros((len(slots), *shape), np.float32)
    for i in noisy:
        noise[i] = standard_noise(slots[i].request.seed, IMAGES, slots[i].row, shape)
    return noise
