"""One evaluation of a batch of slots: denoise, step, and hand each its new state."""

from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np
import torch
from torch import Tensor

from diffusion.bundle import Bundle
from diffusion.denoiser import denoise
from diffusion.samplers.registry import MAX_REGISTERS
from diffusion.step import step
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
def evaluate(bundle: Bundle, slots: Sequence[Slot], pad_to: int | None) -> Evaluated:
    """Evaluate each slot's current row in one forward pass."""
    started = perf_counter()
    state = torch.stack([slot.state for slot in slots])
    denoised = denoise(
        bundle.backend,
        bundle.noise_schedule.prediction_type,
        state[:, 0],
        [float(slot.table.sigmas[slot.row]) for slot in slots],
        [float(slot.table.timesteps[slot.row]) for slot in slots],
        [slot.guidance for slot in slots],
        pad_to=pad_to,
    )
    modelled = perf_counter()
    k = MAX_REGISTERS
    packed = np.stack([slot.packed[slot.row] for slot in slots])
    rows = torch.from_numpy(packed).to(state.device, non_blocking=True)
    draws = [slot.noise() for slot in slots]
    noise = None
    if any(draw is not None for draw in draws):
        zero = np.zeros(state.shape[2:], np.float32)
        stacked = np.stack([zero if draw is None else draw for draw in draws])
        noise = torch.from_numpy(stacked).to(state.device, non_blocking=True)
    mix = rows[:, : k * k].reshape(-1, k, k)
    after = step(state, denoised, noise, mix, rows[:, k * k : k * k + k], rows[:, k * k + k :])
    finite = torch.isfinite(after).flatten(1).all(1).tolist()
    return Evaluated(denoised, after, finite, modelled - started, perf_counter() - modelled)
