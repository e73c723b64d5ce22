"""Training schedules and sampling levels, against diffusers where it has them."""

import math

import numpy as np
import pytest
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from numpy.typing import NDArray

from diffusion.errors import ScheduleError
from diffusion.schedules.levels import Levels
from diffusion.schedules.schedule import sampling_levels
from diffusion.schedules.spread import SAMPLING_SCHEDULES
from diffusion.schedules.vp import VPSchedule, training_betas, zero_terminal_snr
from tests.diffusion.samplers.toy import SCHEDULE

TRAINING = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}

# diffusers hands torch tensors to numpy in set_timesteps.
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


@pytest.mark.parametrize("kind", ["linear", "scaled_linear", "squaredcos_cap_v2"])
def test_training_betas_are_those_of_diffusers(kind: str) -> None:
    theirs = DDPMScheduler(beta_schedule=kind, beta_start=0.0001, beta_end=0.02).betas.numpy()
    assert training_betas(kind, 1000, 0.0001, 0.02) == pytest.approx(theirs, rel=2e-5)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("offset", [0, 1])
@pytest.mark.parametrize("steps", [1, 2, 7, 20, 50])
def test_timesteps_are_those_of_diffusers(spacing: str, offset: int, steps: int) -> None:
    scheduler = EulerDiscreteScheduler(**TRAINING, timestep_spacing=spacing, steps_offset=offset)
    scheduler.set_timesteps(steps)
    schedule = VPSchedule(SCHEDULE.alphas_cumprod, steps_offset=offset)
    levels = sampling_levels(schedule, spacing, steps)
    if steps == 1 and spacing == "linspace":
        assert levels.timesteps.tolist() == [999]  # diffusers starts a single step at 0: no noise
        return
    assert levels.timesteps == pytest.approx(scheduler.timesteps.numpy(), abs=1e-3)
    # diffusers interpolates sigma between whole timesteps, we its logarithm
    assert levels.sigmas == pytest.approx(scheduler.sigmas.numpy(), rel=2e-3)


@pytest.mark.parametrize("kind", ["karras", "exponential"])
@pytest.mark.parametrize("steps", [2, 7, 20, 50])
def test_sigma_spacings_are_those_of_diffusers(kind: str, steps: int) -> None:
    options = {f"use_{kind}_sigmas": True}
    scheduler = EulerDiscreteScheduler(**TRAINING, **options)
    scheduler.set_timesteps(steps)
    levels = sampling_levels(SCHEDULE, kind, steps)
    assert levels.sigmas == pytest.approx(scheduler.sigmas.numpy(), rel=1e-4)
    assert levels.timesteps == pytest.approx(scheduler.timesteps.numpy(), abs=0.05)


def test_karras_levels_follow_the_formula() -> None:
    levels = sampling_levels(SCHEDULE, "karras", 10)
    high, low = SCHEDULE.sigmas[-1] ** (1 / 7), SCHEDULE.sigmas[0] ** (1 / 7)
    expected = [(high + i / 9 * (low - high)) ** 7 for i in range(10)]
    assert levels.sigmas[:-1] == pytest.approx(expected, rel=1e-12)


def test_beta_levels_are_quantiles_of_the_beta_distribution() -> None:
    levels = sampling_levels(SCHEDULE, "beta", 8)
    for timestep, probability in zip(levels.timesteps, 1 - np.arange(8) / 8, strict=True):
        assert _beta_cdf(timestep / 999) == pytest.approx(probability, abs=1e-5)


def _beta_cdf(x: float, alpha: float = 0.6) -> float:
    """Return I_x(α, α) by its series; for x > 1/2 by symmetry."""
    if x > 0.5:
        return 1 - _beta_cdf(1 - x, alpha)
    total, term = 0.0, 1.0
    for n in range(200):
        total += term * x**n / (alpha + n)
        term *= (n + 1 - alpha) / (n + 1)
    return float(x**alpha * total * math.gamma(2 * alpha) / math.gamma(alpha) ** 2)


def test_sgm_uniform_leaves_out_the_last_timestep() -> None:
    timesteps = sampling_levels(SCHEDULE, "sgm_uniform", 9).timesteps
    assert timesteps == pytest.approx(np.arange(9, 0, -1) * 111.0)


@pytest.mark.parametrize("schedule", SAMPLING_SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 25, 999, 1000])
def test_levels_fall_to_zero(schedule: str, steps: int) -> None:
    levels = sampling_levels(SCHEDULE, schedule, steps)
    assert levels.steps == steps
    assert levels.sigmas.shape == (steps + 1,)
    assert levels.sigmas[-1] == 0
    assert np.all(np.diff(levels.sigmas) < 0)
    assert np.all((levels.timesteps >= 0) & (levels.timesteps <= 999))


def test_levels_that_do_not_fall_are_refused() -> None:
    with pytest.raises(ScheduleError, match="do not fall"):
        Levels("own", np.array([1.0, 1.0, 0.0]), np.array([5.0, 5.0]))


@pytest.mark.parametrize("sigma", [0.03, 0.5, 3.0, 14.0])
def test_timestep_and_sigma_are_inverse(sigma: float) -> None:
    at = SCHEDULE.timestep_of(np.array([sigma]))
    assert SCHEDULE.sigma_of(at) == pytest.approx([sigma], rel=1e-12)


def test_levels_outside_training_take_its_ends() -> None:
    ends: NDArray[np.float64] = SCHEDULE.timestep_of(np.array([1e-4, 1e4]))
    assert ends.tolist() == [0, 999]


def test_config_of_stable_diffusion_is_read() -> None:
    schedule = VPSchedule.from_config({**TRAINING, "steps_offset": 1})
    assert schedule.sigmas[0] == pytest.approx(0.0292, abs=1e-4)
    assert schedule.sigmas[-1] == pytest.approx(14.6146, abs=1e-3)
    assert (schedule.prediction_type, schedule.steps_offset) == ("epsilon", 1)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"rescale_betas_zero_snr": True}, "noise says nothing"),
        ({"prediction_type": "flow"}, "unknown prediction_type 'flow'"),
        ({"beta_schedule": "wavy"}, "unknown beta_schedule 'wavy'"),
        ({"beta_start": -0.1}, "not within"),
        ({"num_train_timesteps": "many"}, "many"),
        ({"trained_betas": [0.1]}, "trained_betas"),
        ({"trained_betas": [0.1, 1.5]}, "trained_betas"),
    ],
)
def test_config_we_cannot_serve_is_refused(config: dict[str, object], message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        VPSchedule.from_config(config)


@pytest.mark.parametrize(
    ("schedule", "steps", "message"),
    [
        ("cosy", 5, "unknown schedule 'cosy'"),
        ("karras", 0, "num_inference_steps 0"),
        ("trailing", 1001, "num_inference_steps 1001"),
    ],
)
def test_levels_that_cannot_be_made_are_refused(schedule: str, steps: int, message: str) -> None:
    with pytest.raises(ScheduleError, match=message):
        sampling_levels(SCHEDULE, schedule, steps)


def test_timesteps_before_an_infinite_level_have_levels_of_their_own() -> None:
    schedule = VPSchedule(zero_terminal_snr(SCHEDULE.alphas_cumprod), "v_prediction")
    timesteps = np.array([997.5, 998.0, 998.2, 998.9, 999.0])
    sigmas = schedule.sigma_of(timesteps)
    assert np.all(np.diff(sigmas[:-1]) > 0)
    assert np.isinf(sigmas[-1])
    assert schedule.timestep_of(sigmas) == pytest.approx(timesteps)
    for name in SAMPLING_SCHEDULES:
        for steps in (1, 2, 300, 1000):
            assert np.isinf(sampling_levels(schedule, name, steps).sigmas[0]) or name == "leading"
