"""A nonlinear denoiser small enough to run a thousand steps of, and a table run over it."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.samplers.noise import standard_noise
from diffusion.samplers.step import linear_part, step
from diffusion.samplers.table import SamplerTable
from diffusion.schedules.levels import Levels
from diffusion.schedules.vp import VPSchedule, training_betas

Array = NDArray[np.float64]
SHAPE = (2, 4, 4)
BETAS = training_betas("scaled_linear", 1000, 0.00085, 0.012)
SCHEDULE = VPSchedule(np.cumprod(1 - BETAS).astype(np.float64))


def toy_denoise(x: Array, sigma: float) -> Array:
    """Return a smooth, nonlinear, level-dependent estimate."""
    scaled = x / np.sqrt(1 + sigma**2)
    return np.asarray(np.tanh(1.3 * scaled) + 0.2 * np.sin(2 * scaled + sigma / (1 + sigma)))


def toy_noise(row: int) -> Array:
    """Return the unit noise of a row; −1 is the start."""
    return standard_noise(7, 0, row, SHAPE).astype(np.float64)


def run_table(
    table: SamplerTable,
    start: Array,
    noise: Callable[[int], Array] = toy_noise,
    *,
    denoise: Callable[[Array, float], Array] = toy_denoise,
    dtype: torch.dtype = torch.float64,
    rows: int | None = None,
) -> Array:
    """Return S[0] after ``rows`` rows (all by default), states and coefficients in ``dtype``."""

    def tensor(array: Array) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(dtype)

    state = torch.zeros(1, table.registers, *SHAPE, dtype=dtype)
    state[0, 0] = tensor(start)
    for row in range(table.rows if rows is None else rows):
        x = state[0, 0].double().numpy()
        mix, b, c = (
            tensor(values[row])[None] for values in (table.mix, table.denoised, table.noise)
        )
        linear = linear_part(state, tensor(noise(row))[None], mix, c)
        state = step(linear, tensor(denoise(x, float(table.sigmas[row])))[None], b)
    result: Array = state[0, 0].double().numpy()
    return result


def difference(ours: Array, theirs: Array) -> float:
    """Return the largest difference, relative to the largest value."""
    return float(np.abs(ours - theirs).max() / np.abs(theirs).max())


def karras_levels(steps: int, low: float, high: float = 14.6) -> Levels:
    """Return ``steps`` Karras levels down to ``low``, then 0."""
    ramp = np.linspace(0, 1, steps)
    sigmas = (high ** (1 / 7) + ramp * (low ** (1 / 7) - high ** (1 / 7))) ** 7
    return Levels("karras", np.append(sigmas, 0.0), SCHEDULE.timestep_of(sigmas))
