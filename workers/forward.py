"""One evaluation of a batch of slots: denoise, step, and hand each its new state."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import isfinite
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from diffusion.bundle import Bundle
from diffusion.denoiser import prepare
from diffusion.samplers.registry import MAX_REGISTERS
from diffusion.step import carry, step
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
    """What a step takes that the network need not answer first."""

    carried: Tensor  # (B, K, C, h, w), see diffusion.step.carry
    weight: Tensor  # (B, K), of the denoised estimate


@torch.inference_mode()
def evaluate(
    bundle: Bundle,
    slots: Sequence[Slot],
    pad_to: int | None,
    begin: Callable[[Tensor], Errand[Drawn]],
) -> Evaluated:
    """Evaluate each slot's current row in one forward pass; guided slots come first.

    ``begin`` is given the states when the pass is about to run, not before: until then another
    thread would only take turns with this one. Its errand's result is what :func:`draw` returns.
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
        drawn = errand.result()
    denoised = inputs.denoised(bundle.noise_schedule.prediction_type, prediction)
    after = step(drawn.carried, denoised, drawn.weight)
    # A state is a sum of estimates and noise: a fault shows in the estimate that brought it.
    finite = [True] * len(slots)
    if not isfinite(denoised.sum()):
        finite = torch.isfinite(denoised.sum((1, 2, 3))).tolist()
    return Evaluated(denoised, after, finite, modelled - started, perf_counter() - modelled)


@torch.inference_mode()
def draw(slots: Sequence[Slot], state: Tensor) -> Drawn:
    """Return what the step from these states (B, K, C, h, w) takes beside the network's answer."""
    packed = np.stack([slot.program.packed[slot.row] for slot in slots])
    rows = torch.from_numpy(packed).to(state.device, non_blocking=True)
    k = MAX_REGISTERS
    mix = rows[:, : k * k].reshape(-1, k, k)
    weight, noise_weight = rows[:, k * k :].reshape(-1, 2, k).unbind(1)
    noise = _noise(slots)
    if noise is not None:
        noise = noise.to(state.device, non_blocking=True)
    return Drawn(carry(state, noise, mix, noise_weight), weight)


def _noise(slots: Sequence[Slot]) -> Tensor | None:
    """Return noise (B, C, h, w), zero where a slot takes none; None where none of them does."""
    draws = [(i, noise) for i, slot in enumerate(slots) if (noise := slot.noise()) is not None]
    if not draws:
        return None
    stacked = np.zeros((len(slots), *draws[0][1].shape), np.float32)
    for i, noise in draws:
        stacked[i] = noise
    return torch.from_numpy(stacked)
