"""One evaluation of a batch of slots: denoise, step, and hand each its new state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from time import perf_counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.bundle import Bundle
from diffusion.denoiser import prepare
from diffusion.samplers.registry import MAX_REGISTERS
from diffusion.step import linear_part, step
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


@dataclass(frozen=True)
class Carried:
    """What a step takes that the network need not answer first."""

    state: Tensor  # (B, K, C, h, w), see diffusion.step.linear_part
    weight: Tensor  # (B, K), of the denoised estimate


@torch.inference_mode()
def evaluate(
    bundle: Bundle,
    slots: Sequence[Slot],
    pad_to: int | None,
    begin: Callable[[Tensor], Errand[Carried]],
) -> Evaluated:
    """Evaluate each slot's current row in one forward pass; guided slots come first.

    ``begin`` is given the states when the pass is about to run, not before: until then another
    thread would only take turns with this one. Its errand's result is :func:`carried`'s.
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
    errand = begin(state)
    try:
        prediction = inputs.predict(bundle.backend)
    finally:
        modelled = perf_counter()
        ready = errand.result()
    denoised = inputs.denoised(bundle.noise_schedule.prediction_type, prediction)
    after = step(ready.state, denoised, ready.weight)
    # A state is a sum of estimates and noise: a fault shows in the estimate that brought it.
    finite = [True] * len(slots)
    if not isfinite(denoised.sum()):
        finite = torch.isfinite(denoised.sum((1, 2, 3))).tolist()
    return Evaluated(denoised, after, finite, modelled - started, perf_counter() - modelled)


def draw(slots: Sequence[Slot]) -> Drawn:
    """Return each slot's coefficients and noise for its current row."""
    rows = np.stack([slot.program.packed[slot.row] for slot in slots])
    draws = [(i, noise) for i, slot in enumerate(slots) if (noise := slot.noise()) is not None]
    if not draws:
        return Drawn(rows, None)
    stacked = np.zeros((len(slots), *draws[0][1].shape), np.float32)
    for i, noise in draws:
        stacked[i] = noise
    return Drawn(rows, stacked)


@torch.inference_mode()
def carried(state: Tensor, drawn: Drawn) -> Carried:
    """Return what the step from these states (B, K, C, h, w) takes beside the network's answer."""
    k = MAX_REGISTERS
    rows = torch.from_numpy(drawn.rows).to(state.device, non_blocking=True)
    mix = rows[:, : k * k].reshape(-1, k, k)
    weight, noise_weight = rows[:, k * k :].reshape(-1, 2, k).unbind(1)
    noise = None
    if drawn.noise is not None:
        noise = torch.from_numpy(drawn.noise).to(state.device, non_blocking=True)
    return Carried(linear_part(state, noise, mix, noise_weight), weight)
