"""Deterministic samplers fall to the exact solution of an ODE, at the order they promise.

For data of distribution N(0, c²) the best estimate is D = x·c²/(c² + σ²), and the
probability-flow ODE has the solution x(σ) = x(σ₀)·sqrt((c² + σ²)/(c² + σ₀²)).
"""

import itertools
import math

import numpy as np
import pytest

from diffusion.samplers.registry import SAMPLERS, compile_levels
from diffusion.schedules.levels import Levels
from tests.diffusion.samplers.toy import SCHEDULE, Array, run_table, toy_noise

SPREAD = 0.5
HIGH, LOW = 8.0, 0.1

# The global order: lms starts by an Euler step and plms by a second-order one, and such a start
# leaves its own error behind. The coefficients of plms are those of equal steps.
ORDERS = {
    "euler": 1,
    "ddim": 1,
    "heun": 2,
    "dpm2": 2,
    "dpmpp_2m": 2,
    "deis": 2,
    "unipc": 2,
    "lms": 2,
    "plms": 3,
}


def gaussian_denoise(x: Array, sigma: float) -> Array:
    """Return E[x_0 | x] for data of N(0, c²)."""
    return x * SPREAD**2 / (SPREAD**2 + sigma**2)


def error(name: str, steps: int) -> float:
    """Return the largest relative error at LOW; the step on to 0 is left out."""
    space = np.linspace if name == "plms" else np.geomspace
    sigmas = np.append(space(HIGH, LOW, steps + 1), 0.0)
    levels = Levels("own", sigmas, SCHEDULE.timestep_of(sigmas[:-1]))
    table = compile_levels(name, SCHEDULE, levels)
    start = HIGH * toy_noise(-1)
    rows = int(np.count_nonzero(table.step_of_row <= steps))
    ours = run_table(table, start, denoise=gaussian_denoise, rows=rows)
    exact = start * math.sqrt((SPREAD**2 + LOW**2) / (SPREAD**2 + HIGH**2))
    return float(np.abs(ours / exact - 1).max())


def test_every_deterministic_sampler_is_measured() -> None:
    assert set(ORDERS) == {name for name, info in SAMPLERS.items() if not info.stochastic}


@pytest.mark.parametrize("name", ORDERS)
def test_error_falls_at_the_order_of_the_method(name: str) -> None:
    # plms on so few steps still has the error of its start, of the other sign: it crosses zero.
    counts = (256, 512, 1024) if name == "plms" else (64, 128, 256)
    errors = [error(name, steps) for steps in counts]
    slopes = [math.log2(a / b) for a, b in itertools.pairwise(errors)]
    assert min(slopes) > ORDERS[name] - 0.15, (errors, slopes)


@pytest.mark.parametrize("name", sorted(set(ORDERS) - {"euler", "ddim", "plms"}))
def test_higher_order_beats_euler(name: str) -> None:
    assert error(name, 20) < error("euler", 20) / 3


@pytest.mark.parametrize("name", ["ddpm", "euler_ancestral", "dpm2_ancestral", "dpmpp_2m_sde",
                                  "dpmpp_2s_ancestral", "dpmpp_sde", "dpmpp_3m_sde"])  # fmt: skip
def test_stochastic_sampler_keeps_the_law(name: str) -> None:
    """Linear in x, so the deviation is exact arithmetic: propagate it through the rows."""
    steps = 200
    sigmas = np.append(np.geomspace(80.0, 0.01, steps), 0.0)
    levels = Levels("own", sigmas, SCHEDULE.timestep_of(sigmas[:-1]))
    table = compile_levels(name, SCHEDULE, levels)
    covariance = np.zeros((table.registers, table.registers))
    covariance[0, 0] = table.initial_scale**2
    for row in range(table.rows):
        gain = SPREAD**2 / (SPREAD**2 + table.sigmas[row] ** 2)
        mix = table.mix[row].copy()
        mix[:, 0] += table.denoised[row] * gain
        covariance = mix @ covariance @ mix.T + np.outer(table.noise[row], table.noise[row])
    assert math.sqrt(covariance[0, 0]) == pytest.approx(SPREAD, rel=0.03)
