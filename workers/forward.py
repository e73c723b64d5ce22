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


@torch.inference_mode()
def evaluate(
    bundle: Bundle,
    slots: Sequence[Slot],
    pad_to: int | None,
    begin: Callable[[], Errand[NDArray[np.float32] | None]],
) -> Evaluated:
    """Evaluate each slot's current row in one forward pass.

    ``begin`` is called when the pass is about to run, not before: until then another thread would
    only take turns with this one. Its errand's result is what :func:`draw_noise` returns.
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
    packed = np.stack([slot.program.packed[slot.row] for slot in slots])
    rows = torch.from_numpy(packed).to(state.device, non_blocking=True)
    fresh = None
    if drawn is not None:
        fresh = torch.from_numpy(drawn).to(state.device, non_blocking=True)
    mix = rows[:, : k * k].reshape(-1, k, k)
    after = step(state, denoised, fresh, mix, rows[:, k * k : k * k + k], rows[:, k * k + k :])
    # A state is a sum of estimates and noise: a fault shows in the estimate that brought it.
    finite = torch.isfinite(denoised.sum((1, 2, 3))).tolist()
    return Evaluated(denoised, after, finite, modelled - started, perf_counter() - modelled)


def draw_noise(slots: Sequence[Slot]) -> NDArray[np.float32] | None:
    """Return each slot's noise (B, C, h, w), zero where it takes none; None where none does."""
    draws = [(i, draw) for i, slot in enumerate(slots) if (draw := slot.noise()) is not None]
    if not draws:
        return None
    stacked = np.zeros((len(slots), *draws[0][1].shape), np.float32)
    for i, draw in draws:
        stacked[i] = draw
    return stacked
