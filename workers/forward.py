"""One evaluation of a batch of slots: denoise, step, and hand each its new state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.bundle import Bundle
from diffusion.denoiser import prepare
from diffusion.samplers.registry import MAX_REGISTERS
from diffusion.step import step
from workers.aside import Errand
from workers.slot import Slot


@dataclass(frozen=True)
class Evaluated:
    """What one evaluation gave; nothing is written to the slots yet."""

    denoised: Tensor  # (B, C, h, w)
    state: Tensor  # (B, K, C, h, w), after the row
    finite: list[bool]
    model_s: float
    step_s: float


@dataclass(frozen=True)
class Drawn:
    """What a step takes that no device has to compute."""

    rows: NDArray[np.float32]  # (B, K·K + 2·K), each slot's row of its program
    noise: NDArray[np.float32] | None  # (B, C, h, w), zero where a slot takes none


@torch.inference_mode()
def evaluate(
    bundle: Bundle,
    slots: Sequence[Slot],
    pad_to: int | None,
    begin: Callable[[], Errand[Drawn]],
) -> Evaluated:
    """Evaluate each slot's current row in one forward pass.

    ``begin`` is called when the pass is about to run, not before: until then another thread would
    only take turns with this one. Its errand's result is what :func:`draw` returns.
    """
    started = perf_counter()
    state = torch.stack([slot.state for slot in slots])
    inputs = prepare(
        state[:, 0],
        [slot.program.sigmas[slot.row] for slot in slots],
        [slot.program.timesteps[slot.row] for slot in slots],
        [slot.guidance for slot in slots],
        pad_to=pad_to,
    )
    errand = begin()
    try:
        prediction = inputs.predict(bundle.backend)
    finally:
        modelled = perf_counter()
        drawn = errand.result()
    denoised = inputs.denoised(bundle.noise_schedule.prediction_type, prediction)
    k = MAX_REGISTERS
    rows = torch.from_numpy(drawn.rows).to(state.device, non_blocking=True)
    fresh = None
    if drawn.noise is not None:
        fresh = torch.from_numpy(drawn.noise).to(state.device, non_blocking=True)
    mix = rows[:, : k * k].reshape(-1, k, k)
    after = step(state, denoised, fresh, mix, rows[:, k * k : k * k + k], rows[:, k * k + k :])
    # A state is a sum of estimates and noise: a fault shows in the estimate that brought it.
    finite = torch.isfinite(denoised.sum((1, 2, 3))).tolist()
    return Evaluated(denoised, after, finite, modelled - started, perf_counter() - modelled)


def draw(slots: Sequence[Slot]) -> Drawn:
    """Return what the step takes beside the network's answer."""
    rows = np.stack([slot.program.packed[slot.row] for slot in slots])
    draws = [(i, noise) for i, slot in enumerate(slots) if (noise := slot.noise()) is not None]
    if not draws:
        return Drawn(rows, None)
    stacked = np.zeros((len(slots), *draws[0][1].shape), np.float32)
    for i, noise in draws:
        stacked[i] = noise
    return Drawn(rows, stacked)
