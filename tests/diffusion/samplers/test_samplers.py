"""Compiled tables against the textbook's loops, on a nonlinear denoiser and the same noise."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch

from diffusion.errors import SamplerError
from diffusion.samplers.registry import SAMPLERS, compile_levels, compile_table
from diffusion.samplers.table import SamplerTable
from diffusion.schedules.levels import Levels
from diffusion.schedules.schedule import sampling_levels
from diffusion.schedules.vp import VPSchedule
from tests.diffusion.samplers.k_diffusion import Loop
from tests.diffusion.samplers.papers import ddim, lcm
from tests.diffusion.samplers.textbook import LOOPS
from tests.diffusion.samplers.toy import (
    SCHEDULE,
    Array,
    difference,
    karras_levels,
    run_table,
    toy_denoise,
    toy_noise,
)

STEPS = (1, 2, 3, 10, 25, 1000)
TOLERANCE = {
    "dpm2_ancestral": 1e-9,  # the loop takes sqrt(t² − up²), which cancels where t is near s
    "dpmpp_2s_ancestral": 1e-7,  # the same, and its logarithm after it
    "ddpm": 2e-9,  # the loop's β = 1 − α cancels
    "deis": 1e-9,  # the table's integral cancels where levels are close
    "lms": 1e-9,  # steps to 0 extrapolate: large coefficients of opposite sign
}

# From level 14.6 straight to 0.002: the loop's sqrt(t² − up²) keeps 8 digits, and a slope there is
# an estimate's error divided by 0.002.
FEW_STEPS_TOLERANCE = {("dpm2_ancestral", 2): 1e-6, ("plms", 2): 1e-10, ("plms", 3): 1e-10}
# The same in float32: the second slope of the two-stage methods is divided by 0.03.
FLOAT32_TOLERANCE = {("dpm2_ancestral", 2): 2e-5, ("heun", 2): 2e-5}


def _levels(steps: int) -> list[Levels]:
    """Return the model's own Karras levels, and deeper ones."""
    return [sampling_levels(SCHEDULE, "karras", steps), karras_levels(steps, 0.002)]


def _compare(name: str, loop: Loop, levels: Levels, eta: float | None = None) -> float:
    table = compile_levels(name, SCHEDULE, levels, eta=eta)
    start = table.initial_scale * toy_noise(-1)
    return difference(_run(table), loop(toy_denoise, start, levels.sigmas, toy_noise))


def _run(table: SamplerTable, **options: Any) -> Array:
    """Return what a table makes of the starting noise."""
    return run_table(table, table.initial_scale * toy_noise(-1), **options)


def test_every_sampler_has_a_textbook_loop() -> None:
    assert set(LOOPS) | {"lcm"} == set(SAMPLERS)


# At 1000 steps our lms lowers its order where coefficients grow: it has a test of its own.
CASES = [(name, n) for name in sorted(LOOPS) for n in STEPS if (name, n) != ("lms", 1000)]


@pytest.mark.parametrize(("name", "steps"), CASES)
def test_table_equals_the_textbook_loop(name: str, steps: int) -> None:
    bound = FEW_STEPS_TOLERANCE.get((name, steps), TOLERANCE.get(name, 1e-11))
    for levels in _levels(steps):
        assert _compare(name, LOOPS[name], levels) < bound


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("eta", [0.3, 1.0])
def test_ddim_with_eta_equals_the_textbook_loop(eta: float, steps: int) -> None:
    # At η = 1 the paper's sqrt(1 − ᾱ' − σ²) cancels.
    for levels in _levels(steps):
        assert _compare("ddim", ddim(eta), levels, eta) < 2e-9


@pytest.mark.parametrize("steps", STEPS)
@pytest.mark.parametrize("schedule", ["trailing", "leading"])
def test_lcm_equals_the_textbook_loop(schedule: str, steps: int) -> None:
    levels = sampling_levels(SCHEDULE, schedule, steps)
    assert _compare("lcm", lcm(levels.timesteps), levels) < 1e-11


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_float32_states_stay_near_float64(name: str) -> None:
    for steps in (1, 2, 3, 10, 25):
        table = compile_table(name, SCHEDULE, steps=steps)
        bound = FLOAT32_TOLERANCE.get((name, steps), 5e-6)
        assert difference(_run(table, dtype=torch.float32), _run(table)) < bound


@pytest.mark.parametrize("name", sorted(SAMPLERS))
def test_registry_states_rows_and_registers_truly(name: str) -> None:
    info = SAMPLERS[name]
    for steps in STEPS:
        table = compile_table(name, SCHEDULE, steps=steps)
        assert table.rows == info.rows(steps)
        assert table.registers == info.registers
        assert table.step_of_row[-1] == steps
        assert np.all(np.diff(table.step_of_row) >= 0)
        assert np.any(table.noise != 0) == (info.stochastic and steps > 1)


def test_lms_keeps_its_coefficients_small_at_a_thousand_steps() -> None:
    table = compile_table("lms", SCHEDULE, steps=1000)
    assert np.abs(table.mix).max() < 1000
    assert difference(_run(table, dtype=torch.float32), _run(table)) < 1e-4


def test_constant_estimate_is_reached_exactly_without_noise_left() -> None:
    def constant(x: Array, sigma: float) -> Array:
        return np.full_like(x, 0.37)

    for name in set(SAMPLERS) - {"lcm"}:  # its c_skip leaves a trace of the sample
        table = compile_table(name, SCHEDULE, steps=10)
        assert np.allclose(_run(table, denoise=constant), 0.37, atol=1e-9), name


def test_padded_registers_change_nothing() -> None:
    for name in SAMPLERS:
        table = compile_table(name, SCHEDULE, steps=5)
        assert np.array_equal(_run(table.padded(4)), _run(table))


def test_fingerprint_differs_by_table() -> None:
    tables = [compile_table(n, SCHEDULE, steps=s) for n in SAMPLERS for s in (5, 6)]
    assert len({t.fingerprint() for t in tables}) == len(tables)
    again = compile_levels("euler", SCHEDULE, sampling_levels(SCHEDULE, "karras", 5))
    assert again.fingerprint() == compile_table("euler", SCHEDULE, steps=5).fingerprint()


@pytest.mark.parametrize(
    ("name", "schedule", "steps", "eta", "message"),
    [
        ("dpm9", None, 5, None, "unknown sampler 'dpm9'"),
        ("lcm", "karras", 5, None, "takes schedules trailing, leading"),
        ("euler", None, 0, None, "1 to 1000 steps, not 0"),
        ("euler", None, 1001, None, "not 1001"),
        ("euler", None, 5, 0.5, "does not take eta"),
        ("ddim", None, 5, 1.5, "does not take eta"),
    ],
)
def test_bad_argument_is_named(
    name: str, schedule: str | None, steps: int, eta: float | None, message: str
) -> None:
    with pytest.raises(SamplerError, match=message):
        compile_table(name, SCHEDULE, schedule=schedule, steps=steps, eta=eta)


VELOCITY = VPSchedule(SCHEDULE.alphas_cumprod, "v_prediction")


def from_noise(steps: int, first: float) -> Levels:
    """Return levels from a very high one, which the state is told apart from noise by."""
    rest = np.geomspace(10.0, 0.05, steps - 1) if steps > 1 else np.empty(0)
    sigmas = np.concatenate([[first], rest, [0.0]])
    return Levels("own", sigmas, SCHEDULE.timestep_of(np.minimum(sigmas[:-1], 14.0)))


def from_anywhere(x: Array, sigma: float) -> Array:
    """Return the toy's estimate; at an infinite level the state is the noise itself."""
    return toy_denoise(x * 1e8, 1e8) if np.isinf(sigma) else toy_denoise(x, sigma)


def shifted_noise(shift: int, row: int) -> Array:
    return toy_noise(row - shift)


@pytest.mark.parametrize("steps", [1, 2, 4, 20])
@pytest.mark.parametrize("name", SAMPLERS)
def test_infinite_first_level_has_a_finite_table(name: str, steps: int) -> None:
    table = compile_levels(name, VELOCITY, from_noise(steps, np.inf))
    assert table.initial_scale == 1.0
    assert table.step_of_row.tolist()[-1] == steps
    assert (table.c_in[0], table.c_skip[0], table.c_out[0]) == (1.0, 0.0, -1.0)
    assert table.rows == (1 if steps == 1 else 1 + rows_after(name, steps))


def rows_after(name: str, steps: int) -> int:
    levels = from_noise(steps, np.inf)
    finite = Levels("own", levels.sigmas[1:], levels.timesteps[1:])
    return compile_levels(name, VELOCITY, finite).rows


@pytest.mark.parametrize(
    ("name", "most"),
    [
        *dict.fromkeys(("euler", "ddim", "ddpm", "euler_ancestral", "lms", "lcm"), 2e-6).items(),
        # A first step in ln σ from 1e8 is long, not infinitely long.
        *dict.fromkeys(("dpmpp_2m", "dpmpp_2m_sde", "deis", "unipc"), 2e-2).items(),
        # A second stage near 1e8 asks what the first has asked.
        *dict.fromkeys(("dpm2", "dpmpp_2s_ancestral"), 2e-2).items(),
    ],
)
def test_infinite_level_is_the_limit_of_larger_ones(name: str, most: float) -> None:
    eta = 0.0 if name == "ddim" else None
    ends = []
    for first in (np.inf, 1e8):
        table = compile_levels(name, VELOCITY, from_noise(12, first), eta=eta)
        start = toy_noise(-1) * table.initial_scale
        two = name in ("dpm2", "dpmpp_2s_ancestral") and np.isfinite(first)
        shift = int(two)  # the noise of a step is drawn in its last row
        draw = partial(shifted_noise, shift)
        ends.append(run_table(table, start, draw, denoise=from_anywhere))
    assert difference(*ends) < most
