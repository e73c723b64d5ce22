"""EDM models' own schedules against diffusers' schedulers, and ours over their levels."""

from typing import Any

import numpy as np
import pytest

from diffusion.errors import ScheduleError
from diffusion.samplers.registry import SAMPLERS, compile_table
from diffusion.schedules.edm import EDMSchedule
from diffusion.schedules.levels import OWN
from diffusion.schedules.schedule import sampling_levels
from diffusion.schedules.scheduler_config import read_schedule
from tests.diffusion.schedules.parity import BETAS, Case, difference

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The `scale_model_input`:UserWarning"),
]
EULER, SOLVER = "EDMEulerScheduler", "EDMDPMSolverMultistepScheduler"
COSXL = {
    "sigma_min": 0.002, "sigma_max": 120.0, "sigma_data": 1.0, "sigma_schedule": "exponential",
    "prediction_type": "v_prediction",
}  # fmt: skip
CONTINUOUS = {
    **BETAS, "prediction_type": "v_prediction", "timestep_type": "continuous",
    "sigma_min": 0.002, "sigma_max": 120.0,
}  # fmt: skip
CASES = {
    "Euler": Case(EULER, "euler"),
    "CosXL": Case(EULER, "euler", COSXL),
    "Playground v2.5": Case(SOLVER, "dpmpp_2m"),
    "another range": Case(SOLVER, "dpmpp_2m", {"sigma_max": 30.0, "sigma_data": 0.7, "rho": 5.0}),
    "exponential": Case(SOLVER, "dpmpp_2m", {"sigma_schedule": "exponential"}),
    "first order": Case(SOLVER, "ddim", {"solver_order": 1}),
    "SDE": Case(SOLVER, "dpmpp_2m_sde", {"algorithm_type": "sde-dpmsolver++"}),
    "continuous, karras": Case(
        "EulerDiscreteScheduler", "euler", CONTINUOUS | {"use_karras_sigmas": True}
    ),
    "continuous, leading": Case(
        "EulerDiscreteScheduler", "euler",
        CONTINUOUS | {"use_exponential_sigmas": True, "timestep_spacing": "leading"},
    ),
    "continuous, betas": Case(
        "EulerDiscreteScheduler", "euler", CONTINUOUS | {"timestep_spacing": "trailing"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("steps", [1, 4, 20, 50])
@pytest.mark.parametrize("name", CASES)
def test_an_edm_model_s_own_schedule_equals_diffusers(name: str, steps: int) -> None:
    if steps == 1 and CASES[name].options.get("sigma_schedule") == "exponential":
        return  # diffusers' only step starts at sigma_min
    # One step from σ = 120 cancels in their float32.
    limit = 4e-4 if steps == 1 else 1e-4 if name == "SDE" else 1e-5
    case = CASES[name]
    options = case.options if case.scheduler != "EulerDiscreteScheduler" else {"sigma_data": 1.0}
    assert difference(case, steps, sigma_data=options.get("sigma_data", 0.5)) < limit


def test_one_step_starts_at_the_highest_level() -> None:
    levels = sampling_levels(CASES["CosXL"].schedule(), OWN, 1)
    assert levels.sigmas.tolist() == pytest.approx([120.0, 0.0])


def test_timesteps_are_logarithms_and_may_be_negative() -> None:
    levels = sampling_levels(EDMSchedule("epsilon"), "karras", 20)
    assert np.allclose(levels.timesteps, np.log(levels.sigmas[:-1]) / 4)
    assert levels.timesteps[-1] < -1


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_offered_schedule_of_edm_compiles_to_a_finite_table(sampler: str) -> None:
    noise_schedule = CASES["Euler"].schedule()
    info = SAMPLERS[sampler]
    expected = (OWN,) if sampler == "lcm" else ("karras", "exponential", OWN)
    assert info.offered(noise_schedule) == expected
    assert info.usual_schedule(noise_schedule) == expected[0]
    for schedule in expected:
        for steps in (1, 2, 3, 20, 1000):
            table = compile_table(sampler, noise_schedule, schedule=schedule, steps=steps)
            assert np.isfinite([table.c_in, table.c_skip, table.c_out, table.timesteps]).all()


def test_sampler_without_a_schedule_is_not_offered() -> None:
    assert SAMPLERS["lcm"].offered(EDMSchedule("epsilon")) == ()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (EULER, {"final_sigmas_type": "sigma_min"}, "final_sigmas_type 'sigma_min'"),
        (SOLVER, {"solver_order": 3}, "solver_order 3"),
        (SOLVER, {"solver_type": "heun"}, "solver_type 'heun'"),
        ("EulerDiscreteScheduler", CONTINUOUS | {"rescale_betas_zero_snr": True}, "no first time"),
        ("EulerDiscreteScheduler", CONTINUOUS | {"interpolation_type": "log_linear"}, "log_linear"),
    ],
)
def test_an_edm_scheduler_that_we_cannot_follow_is_said_by_name(
    name: str, options: dict[str, Any], said: str
) -> None:
    noise_schedule = read_schedule({"_class_name": name, **options})
    assert (noise_schedule.process, noise_schedule.own) == ("edm", None)
    assert said in noise_schedule.not_own
    assert len(sampling_levels(noise_schedule, "karras", 5).timesteps) == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"prediction_type": "sample"}, "prediction_type 'sample'"),
        ({"sigma_schedule": "cosine"}, "sigma_schedule 'cosine'"),
        ({"sigma_data": 0}, "sigma_data 0"),
        ({"sigma_max": 0.001}, "sigma_min 0.002 is not below 0.001"),
        ({"rho": "7"}, "rho '7'"),
        ({"churn": 40}, "the key 'churn' is unknown"),
        ({"thresholding": True}, "thresholding True"),
    ],
)
def test_a_key_that_changes_an_edm_model_s_images_is_refused_by_name(
    options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ScheduleError, match=said):
        read_schedule({"_class_name": SOLVER, **options})


def test_other_predictions_keep_their_timesteps_where_these_are_continuous() -> None:
    """So does diffusers, which leaves them for later."""
    config = {"_class_name": "EulerDiscreteScheduler", **CONTINUOUS, "prediction_type": "epsilon"}
    assert read_schedule(config).process == "vp"
