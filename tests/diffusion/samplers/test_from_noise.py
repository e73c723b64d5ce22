"""An infinite first level: one row is the limit of ever larger levels, or what replaces it."""

import numpy as np
import pytest
import torch

from diffusion.samplers.registry import SAMPLERS, compile_levels, compile_table
from diffusion.schedules.flow import FlowSchedule
from diffusion.schedules.levels import Levels
from diffusion.schedules.schedule import sampling_levels
from diffusion.schedules.shift import Shift
from tests.diffusion.samplers.toy import difference, run_table, toy_noise
from tests.diffusion.schedules.parity import Array, estimate, network, run, unit_noise

FLOW = FlowSchedule(Shift(3.0))
STEPS = 20
CAPS = (4096.0, 1e6, 1e8)
LIMITS = {
    **dict.fromkeys(("euler", "ddim", "ddpm", "euler_ancestral", "lms", "lcm"), (2e-3, 9e-6, 1e-7)),
    **dict.fromkeys(("dpmpp_2m", "dpmpp_2m_sde", "dpmpp_3m_sde", "deis"), (6e-3, 3e-5, 2e-5)),
    "unipc": (1e-3, 5e-4, 5e-4),  # the row drops the first step's corrector of ½
    **dict.fromkeys(("dpm2", "dpmpp_2s_ancestral"), (5e-3, 1e-3, 1e-3)),
    "dpmpp_sde": (0.2, 0.06, 0.02),  # the noise of a stage at sqrt(s·t) falls as σ^(−¼)
}
DIVERGES = {"heun", "plms", "dpm2_ancestral"}
"""Means of slopes, which grow with the first level."""


def capped(cap: float) -> Levels:
    """Return the flow's levels with another first one."""
    levels = sampling_levels(FLOW, "trailing", STEPS)
    sigmas = np.concatenate([[cap], levels.sigmas[1:]])
    return Levels("own", sigmas, FLOW.timestep_of(sigmas[:-1]))


def image(name: str, levels: Levels, shift: int = 0) -> Array:
    """Return what is drawn from the same noise; ``shift`` rows draw nothing before the others."""
    eta = 0.0 if SAMPLERS[name].eta is not None and not SAMPLERS[name].stochastic else None
    table = compile_levels(name, FLOW, levels, eta=eta)
    start, *noise = unit_noise(table.rows + 1)
    return run(table, start, network(FLOW), [*noise[:1] * shift, *noise][: table.rows])


def off(name: str, cap: float) -> float:
    wanted = image(name, sampling_levels(FLOW, "trailing", STEPS))
    found = image(name, capped(cap), int(SAMPLERS[name].rows_per_step == 2))
    return float(np.abs(wanted - found).max() / np.abs(wanted).max())


def test_every_sampler_is_here() -> None:
    assert LIMITS.keys() | DIVERGES == set(SAMPLERS)


@pytest.mark.parametrize("name", LIMITS)
def test_row_from_noise_is_the_limit(name: str) -> None:
    for cap, most in zip(CAPS, LIMITS[name], strict=True):
        assert off(name, cap) < most


def denoise(x: Array, sigma: float) -> Array:
    if np.isinf(sigma):
        return estimate(x, 0.0, 1.0)
    return estimate(x / (1 + sigma), 1 / (1 + sigma), sigma / (1 + sigma))


@pytest.mark.parametrize("name", SAMPLERS)
def test_float32_states_from_noise_stay_near_float64(name: str) -> None:
    for shift in (3.0, 12.0):
        flow = FlowSchedule(Shift(shift))
        for steps in (4, 20, 50):
            table = compile_table(name, flow, schedule="trailing", steps=steps)
            start = table.initial_scale * toy_noise(-1)
            exact, single = (
                run_table(table, start, denoise=denoise, dtype=dtype)
                for dtype in (torch.float64, torch.float32)
            )
            assert difference(single, exact) < 1e-5


@pytest.mark.parametrize("name", sorted(DIVERGES - {"dpm2_ancestral"}))
def test_samplers_that_diverge_there_draw_what_the_others_do(name: str) -> None:
    """The estimate at noise alone is as good a first step for them."""
    ends = [
        run_table(compile_table(sampler, FLOW, schedule="trailing", steps=steps),
                  toy_noise(-1), denoise=denoise)
        for sampler, steps in ((name, 100), ("dpmpp_2m", 400))
    ]  # fmt: skip
    assert np.median(np.abs(ends[0] - ends[1])) < 0.02
