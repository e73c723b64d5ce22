"""A model's own levels against those that diffusers' scheduler of its configuration visits."""

from typing import Any

import diffusers
import numpy as np
import pytest

from diffusion.errors import ScheduleError
from diffusion.schedules.levels import OWN, Levels
from diffusion.schedules.own import FAMILIES
from diffusion.schedules.schedule import sampling_levels
from diffusion.schedules.vp import VPSchedule

TRAINING: dict[str, Any] = {
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
    "num_train_timesteps": 1000,
}  # fmt: skip
SPREADS = [{}, *({f"use_{name}_sigmas": True} for name in ("karras", "exponential", "beta"))]
pytestmark = pytest.mark.filterwarnings("ignore:__array:DeprecationWarning")


def theirs(name: str, steps: int, **options: Any) -> tuple[Any, dict[str, Any]]:
    """Return diffusers' scheduler, set to these steps, and its configuration as it is saved."""
    if name in ("DDIMScheduler", "DDIMParallelScheduler", "DDPMScheduler", "DDPMParallelScheduler"):
        options["clip_sample"] = False  # true where it is left out
    scheduler = getattr(diffusers, name)(**TRAINING | options)
    scheduler.set_timesteps(steps)
    return scheduler, {"_class_name": name, "clip_sample": False, **TRAINING, **options}


def ours(config: dict[str, Any], steps: int) -> Levels:
    return sampling_levels(VPSchedule.from_config(config), OWN, steps)


def visited(scheduler: Any) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Return the levels and timesteps of a scheduler, each once."""
    timesteps = np.asarray(scheduler.timesteps, np.float64)
    if not hasattr(scheduler, "sigmas"):
        timesteps = np.unique(timesteps)[::-1]
        alphas = np.asarray(scheduler.alphas_cumprod, np.float64)[timesteps.astype(int)]
        return np.sqrt((1 - alphas) / alphas), timesteps
    sigmas = np.asarray(scheduler.sigmas, np.float64)
    if len(sigmas) > len(timesteps) + 1 or "Heun" in type(scheduler).__name__:
        sigmas = sigmas[:-1]
    if "KDPM2" in type(scheduler).__name__ or "Heun" in type(scheduler).__name__:
        timesteps = timesteps[np.r_[0 : len(timesteps) : 2]]
        sigmas = np.unique(np.asarray(scheduler.sigmas, np.float64)[::2])[::-1]
    return sigmas, timesteps


@pytest.mark.parametrize("steps", [2, 4, 20, 50])
@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize(
    "name", sorted(name for name, (family, _) in FAMILIES.items() if family != "lcm")
)
def test_spaced_levels_equal_diffusers(name: str, spacing: str, steps: int) -> None:
    options = {"skip_prk_steps": True} if name == "PNDMScheduler" else {}
    scheduler, config = theirs(name, steps, timestep_spacing=spacing, steps_offset=1, **options)
    sigmas, timesteps = visited(scheduler)
    levels = ours(config, steps)
    assert np.allclose(levels.timesteps, timesteps[:steps], atol=5e-4)
    assert np.allclose(levels.sigmas[:steps], sigmas[:steps], rtol=2e-5)


@pytest.mark.parametrize("steps", [2, 4, 20, 50])
@pytest.mark.parametrize("options", SPREADS[1:], ids=str)
@pytest.mark.parametrize(
    "name",
    ["EulerDiscreteScheduler", "LMSDiscreteScheduler", "DPMSolverMultistepScheduler",
     "UniPCMultistepScheduler"],
)  # fmt: skip
def test_spread_levels_equal_diffusers(name: str, options: dict[str, Any], steps: int) -> None:
    scheduler, config = theirs(name, steps, **options)
    levels = ours(config, steps)
    assert np.allclose(
        levels.sigmas, np.asarray(scheduler.sigmas, np.float64), rtol=2e-5, atol=1e-7
    )
    off = np.abs(levels.timesteps - np.asarray(scheduler.timesteps, np.float64))
    assert off[1:].max() < 2e-3
    assert off[0] < 2e-3 or off[0] == 1  # 998.99…, cut to 998


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 8, 20, 50])
def test_lcm_levels_equal_diffusers(steps: int) -> None:
    scheduler, config = theirs("LCMScheduler", steps)
    assert ours(config, steps).timesteps.tolist() == scheduler.timesteps.tolist()


@pytest.mark.parametrize(
    ("name", "options", "last"),
    [
        ("DDIMScheduler", {"set_alpha_to_one": False, "steps_offset": 1}, 0.0292),
        ("DDIMScheduler", {"set_alpha_to_one": False}, 0.0),
        ("DDIMScheduler", {}, 0.0),
        ("PNDMScheduler", {"skip_prk_steps": True, "steps_offset": 1}, 0.0292),
        ("PNDMScheduler", {"skip_prk_steps": True, "set_alpha_to_one": True}, 0.0),
        ("DPMSolverMultistepScheduler", {"final_sigmas_type": "sigma_min"}, 0.0292),
        ("DEISMultistepScheduler", {}, 0.0292),
        ("EulerDiscreteScheduler", {}, 0.0),
    ],
)
def test_levels_end_where_the_scheduler_does(
    name: str, options: dict[str, Any], last: float
) -> None:
    _, config = theirs(name, 10, **options)
    levels = ours(config, 10)
    assert levels.sigmas[-1] == pytest.approx(last, abs=1e-4)
    assert levels.final_scale == pytest.approx(1 / np.sqrt(1 + last**2), abs=1e-6)


@pytest.mark.parametrize("spacing", ["leading", "linspace", "trailing"])
@pytest.mark.parametrize("name", ["EulerDiscreteScheduler", "LMSDiscreteScheduler"])
def test_start_is_the_scheduler_s(name: str, spacing: str) -> None:
    scheduler, config = theirs(name, 10, timestep_spacing=spacing)
    levels = ours(config, 10)
    start = levels.initial_scale or np.sqrt(1 + levels.sigmas[0] ** 2)
    assert start == pytest.approx(float(scheduler.init_noise_sigma), rel=1e-6)


def test_zero_terminal_snr_begins_at_infinity() -> None:
    options = {
        "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
        "prediction_type": "v_prediction",
    }  # fmt: skip
    scheduler, config = theirs("DDIMScheduler", 10, **options)
    levels = ours(config, 10)
    assert np.isinf(levels.sigmas[0])
    assert levels.timesteps.tolist() == scheduler.timesteps.tolist()
    alphas = np.asarray(scheduler.alphas_cumprod, np.float64)[scheduler.timesteps[1:]]
    assert np.allclose(levels.sigmas[1:-1], np.sqrt((1 - alphas) / alphas), rtol=2e-4)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"_class_name": "SASolverScheduler"}, "SASolverScheduler"),
        ({"_class_name": "TCDScheduler"}, "TCDScheduler"),
        ({"_class_name": "DPMSolverSDEScheduler"}, "DPMSolverSDEScheduler"),
        ({"_class_name": "DPMSolverSinglestepScheduler"}, "DPMSolverSinglestepScheduler"),
        ({"use_karras_sigmas": True, "sigma_min": 20.0}, "levels of schedule 'model' do not fall"),
        ({"_class_name": "DDIMScheduler"}, "clip_sample True"),
        (
            {
                "_class_name": "DDPMScheduler",
                "clip_sample": False,
                "variance_type": "fixed_large_log",
            },
            "variance_type 'fixed_large_log'",
        ),
        (
            {
                "_class_name": "DDPMScheduler",
                "clip_sample": False,
                "variance_type": "fixed_large",
                "timestep_spacing": "trailing",
            },
            "'fixed_large' leaves noise in the image",
        ),
        (
            {
                "_class_name": "DDPMScheduler",
                "clip_sample": False,
                "variance_type": "fixed_large",
                "steps_offset": 1,
            },
            "'fixed_large' leaves noise in the image",
        ),
        ({"_class_name": "DPMSolverMultistepScheduler", "solver_type": "heun"}, "solver_type"),
        ({"_class_name": "UniPCMultistepScheduler", "solver_order": 3}, "solver_order 3"),
        ({"_class_name": "UniPCMultistepScheduler", "solver_type": "bh1"}, "solver_type 'bh1'"),
        ({"_class_name": "UniPCMultistepScheduler", "predict_x0": False}, "predict_x0 False"),
        ({"_class_name": "UniPCMultistepScheduler", "disable_corrector": [0]}, "disable_corr"),
        ({"_class_name": "DEISMultistepScheduler", "solver_order": 3}, "solver_order 3"),
        ({"_class_name": "PNDMScheduler"}, "skip_prk_steps"),
        ({"timestep_spacing": "random"}, "timestep_spacing 'random'"),
        ({"interpolation_type": "log_linear"}, "interpolation_type"),
        ({"use_karras_sigmas": True, "use_beta_sigmas": True}, "only one of use_karras_sigmas"),
        ({"final_sigmas_type": "sigma_min"}, "final_sigmas_type 'sigma_min'"),
        ({"_class_name": "DPMSolverMultistepScheduler", "solver_order": 3}, "solver_order 3"),
        (
            {"_class_name": "DPMSolverMultistepScheduler", "algorithm_type": "dpmsolver"},
            "algorithm_type 'dpmsolver'",
        ),
    ],
)
def test_levels_that_we_have_not_are_not_offered_and_said_by_name(
    options: dict[str, Any], said: str
) -> None:
    config = {"_class_name": "EulerDiscreteScheduler", **TRAINING, **options}
    noise_schedule = VPSchedule.from_config(config)
    assert noise_schedule.own is None
    assert len(sampling_levels(noise_schedule, "karras", 5).timesteps) == 5
    with pytest.raises(ScheduleError, match=said):
        sampling_levels(noise_schedule, OWN, 5)


def test_noise_alone_says_nothing_of_noise() -> None:
    config = {"_class_name": "EulerDiscreteScheduler", **TRAINING, "rescale_betas_zero_snr": True}
    with pytest.raises(ScheduleError, match="prediction_type 'epsilon'"):
        VPSchedule.from_config(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [("original_inference_steps", "50"), ("lambda_min_clipped", "low"), ("solver_order", None),
     ("timestep_spacing", ["leading"]), ("sigma_min", 0), ("use_karras_sigmas", "yes")],
)  # fmt: skip
def test_a_value_of_another_type_is_refused_by_name(key: str, value: Any) -> None:
    config = {"_class_name": "LCMScheduler", **TRAINING, key: value}
    with pytest.raises(ScheduleError, match=key):
        VPSchedule.from_config(config)


def test_keys_that_a_scheduler_has_not_are_passed_over_as_diffusers_does() -> None:
    """Schedulers made from another's configuration keep its keys."""
    config = {"_class_name": "EulerAncestralDiscreteScheduler", **TRAINING}
    left, right = (ours(config | more, 10) for more in ({}, {"use_karras_sigmas": True}))
    assert left.sigmas.tolist() == right.sigmas.tolist()


def test_what_is_left_out_is_what_the_scheduler_takes_it_for() -> None:
    for name in ("LCMScheduler", "HeunDiscreteScheduler", "EulerDiscreteScheduler"):
        scheduler = getattr(diffusers, name)()
        noise_schedule = VPSchedule.from_config({"_class_name": name})
        assert np.allclose(noise_schedule.alphas_cumprod, scheduler.alphas_cumprod, rtol=1e-4)
