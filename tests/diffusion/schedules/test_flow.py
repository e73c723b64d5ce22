"""Flow models' own schedules against diffusers' schedulers, and ours over a flow."""

from typing import Any

import numpy as np
import pytest

from diffusion.errors import SamplerError, ScheduleError
from diffusion.samplers.registry import SAMPLERS, compile_table
from diffusion.schedules.flow import FlowSchedule
from diffusion.schedules.levels import OWN
from diffusion.schedules.schedule import sampling_levels
from diffusion.schedules.scheduler_config import read_schedule
from diffusion.schedules.shift import DynamicShift, Shift
from diffusion.schedules.spread import SAMPLING_SCHEDULES
from tests.diffusion.schedules.parity import Case, difference, network, run, unit_noise

pytestmark = [
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The `scale_model_input`:UserWarning"),
]
EULER = "FlowMatchEulerDiscreteScheduler"
TOKENS = (1024 // 16) * (768 // 16)
FLUX = {"use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15}
QWEN = {
    "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 0.9, "base_image_seq_len": 256,
    "max_image_seq_len": 8192, "shift_terminal": 0.02,
}  # fmt: skip
FLOW = {"use_flow_sigmas": True, "flow_shift": 3.0, "prediction_type": "flow_prediction"}
SDE = {"algorithm_type": "sde-dpmsolver++"}
MATCHING = {
    "Stable Diffusion 3": Case(EULER, "euler", {"shift": 3.0}),
    "FLUX.1 schnell": Case(EULER, "euler", {"shift": 1.0}, "once_shifted"),
    "FLUX.1 dev": Case(EULER, "euler", FLUX, "once_shifted", TOKENS),
    "FLUX.1 dev, small": Case(EULER, "euler", FLUX, "once_shifted", 16),
    "Qwen-Image": Case(EULER, "euler", QWEN, "once_shifted", TOKENS),
    "Z-Image-Turbo": Case(EULER, "euler", {"shift": 3.0}, "once_shifted"),
    "dynamic, twice": Case(EULER, "euler", FLUX, "twice_shifted", TOKENS),
    "linear": Case(EULER, "euler", FLUX | {"time_shift_type": "linear"}, "once_shifted", TOKENS),
    "karras": Case(EULER, "euler", {"shift": 3.0, "use_karras_sigmas": True}),
    "exponential": Case(EULER, "euler", {"shift": 3.0, "use_exponential_sigmas": True}),
    "beta": Case(EULER, "euler", {"shift": 3.0, "use_beta_sigmas": True}),
    "terminal": Case(EULER, "euler", {"shift": 3.0, "shift_terminal": 0.1}),
    "stochastic": Case(EULER, "lcm", {"shift": 3.0, "stochastic_sampling": True}),
    "LCM": Case("FlowMatchLCMScheduler", "lcm", {"shift": 3.0}),
    "LCM, dynamic": Case("FlowMatchLCMScheduler", "lcm", FLUX, "once_shifted", TOKENS),
    "Heun": Case("FlowMatchHeunDiscreteScheduler", "heun", {"shift": 3.0}),
    "Heun, unshifted": Case("FlowMatchHeunDiscreteScheduler", "heun"),
}
SOLVERS = {
    "DPM++ 2M": Case("DPMSolverMultistepScheduler", "dpmpp_2m", FLOW),
    "DPM++ 2M, dynamic": Case(
        "DPMSolverMultistepScheduler", "dpmpp_2m", FLOW | {"use_dynamic_shifting": True},
        image_tokens=TOKENS,
    ),
    "DPM++ 2M SDE": Case("DPMSolverMultistepScheduler", "dpmpp_2m_sde", FLOW | SDE),
    "DPM++ 1": Case("DPMSolverMultistepScheduler", "ddim", FLOW | {"solver_order": 1}),
    "UniPC": Case("UniPCMultistepScheduler", "unipc", FLOW),
    "UniPC, dynamic": Case(
        "UniPCMultistepScheduler", "unipc", FLOW | {"use_dynamic_shifting": True},
        image_tokens=TOKENS,
    ),
    "UniPC, terminal": Case("UniPCMultistepScheduler", "unipc", FLOW | {"shift_terminal": 0.05}),
}  # fmt: skip


@pytest.mark.parametrize("steps", [1, 4, 20, 50])
@pytest.mark.parametrize("name", MATCHING)
def test_a_flow_model_s_own_schedule_equals_diffusers(name: str, steps: int) -> None:
    if name in ("Qwen-Image", "terminal") and steps == 1:
        return  # diffusers divides 0 by 0
    assert difference(MATCHING[name], steps) < 1e-5


@pytest.mark.parametrize("steps", [1, 4, 20, 50])
@pytest.mark.parametrize("name", SOLVERS)
def test_a_flow_s_solver_equals_diffusers_but_for_whole_timesteps(name: str, steps: int) -> None:
    """Theirs cuts c_noise to an integer, 8e-4 … 7e-3 of the picture: ask at the state's level."""
    if name == "UniPC, terminal" and steps == 1:
        return  # diffusers divides 0 by 0
    limit = 1e-4 if "SDE" in name else 1e-5
    assert difference(SOLVERS[name], steps, exact=True) < limit


def test_one_step_is_from_noise_alone() -> None:
    for name in ("Qwen-Image", "terminal", "FLUX.1 dev"):
        case = MATCHING[name]
        levels = sampling_levels(case.schedule(), OWN, 1, image_tokens=case.image_tokens)
        assert levels.sigmas.tolist() == [np.inf, 0]
        assert levels.timesteps.tolist() == [1000]


def dynamic() -> FlowSchedule:
    return FlowSchedule(Shift(dynamic=DynamicShift()))


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_offered_schedule_of_a_flow_compiles_to_a_finite_table(sampler: str) -> None:
    case = MATCHING["Heun"]
    noise_schedule = case.schedule()
    info = SAMPLERS[sampler]
    assert info.offered(noise_schedule) == (*info.schedules, OWN)
    for schedule in info.offered(noise_schedule):
        for steps in (1, 2, 3, 20, 1000):
            table = compile_table(sampler, noise_schedule, schedule=schedule, steps=steps)
            assert np.isfinite(table.initial_scale)
            assert np.isfinite([table.c_in, table.c_skip, table.c_out, table.timesteps]).all()
            assert table.step_of_row[-1] == steps


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_every_sampler_draws_the_distribution_of_a_flow(sampler: str) -> None:
    """All of them leave every value near one of the means, at the model's shift."""
    noise_schedule = FlowSchedule(Shift(3.0))
    table = compile_table(sampler, noise_schedule, steps=40)
    image = run(table, unit_noise(1)[0], network(noise_schedule), unit_noise(table.rows + 1)[1:])
    nearest = np.abs(image[..., None] - np.array([-1.2, 0.1, 0.9])).min(-1)
    assert nearest.max() < 1.0
    assert image.std() > 0.4


def test_named_schedules_space_the_time_between_the_same_ends() -> None:
    noise_schedule = FlowSchedule(Shift(3.0))
    plain = sampling_levels(FlowSchedule(), "trailing", 10)
    assert np.allclose(plain.timesteps, np.linspace(1000, 100, 10))
    for schedule in ("trailing", "karras", "exponential"):
        levels = sampling_levels(noise_schedule, schedule, 10)
        assert levels.timesteps[0] == 1000
        assert levels.timesteps[-1] == pytest.approx(250)  # 3·0.1/(1 + 2·0.1)
    for schedule in set(SAMPLING_SCHEDULES) - {"leading"}:
        assert np.isinf(sampling_levels(noise_schedule, schedule, 10).sigmas[0]), schedule
    assert sampling_levels(noise_schedule, "leading", 10).sigmas[0] < np.inf
    assert sampling_levels(FlowSchedule(), "linspace", 10).timesteps[-1] == pytest.approx(1)


def test_shift_follows_the_size_of_the_image() -> None:
    small, large = (
        sampling_levels(dynamic(), "trailing", 4, image_tokens=tokens) for tokens in (256, 4096)
    )
    assert np.all(large.timesteps[1:] > small.timesteps[1:])
    with pytest.raises(ScheduleError, match="image tokens"):
        sampling_levels(dynamic(), "trailing", 4)
    linear = FlowSchedule(Shift(dynamic=DynamicShift(base_shift=-1.0, kind="linear")))
    with pytest.raises(ScheduleError, match="'linear' has no shift of -1"):
        sampling_levels(linear, "trailing", 4, image_tokens=256)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("SASolverScheduler", {}, "SASolverScheduler has no sampler of ours for a flow"),
        ("DPMSolverSinglestepScheduler", {}, "DPMSolverSinglestepScheduler"),
        ("DPMSolverMultistepScheduler", {"use_karras_sigmas": True}, "use_karras_sigmas"),
        ("UniPCMultistepScheduler", {"use_beta_sigmas": True}, "use_beta_sigmas"),
        ("UniPCMultistepScheduler", {"solver_order": 3}, "solver_order 3"),
        ("UniPCMultistepScheduler", {"solver_type": "bh1"}, "solver_type 'bh1'"),
        ("DPMSolverMultistepScheduler", {"final_sigmas_type": "sigma_min"}, "final_sigmas_type"),
        ("DPMSolverMultistepScheduler", {"solver_type": "heun"}, "solver_type 'heun'"),
    ],
)
def test_a_flow_s_scheduler_that_we_cannot_follow_is_said_by_name(
    name: str, options: dict[str, Any], said: str
) -> None:
    noise_schedule = read_schedule({"_class_name": name, **FLOW, **options})
    assert noise_schedule.process == "flow"
    assert noise_schedule.own is None
    assert said in noise_schedule.not_own
    assert len(sampling_levels(noise_schedule, "trailing", 5).timesteps) == 5
    with pytest.raises(SamplerError, match="not 'model'"):
        compile_table("euler", noise_schedule, schedule=OWN, steps=5)


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        (EULER, {"invert_sigmas": True}, "invert_sigmas True"),
        (EULER, {"shift": 0}, "shift 0"),
        (EULER, {"shift": "3"}, "shift '3'"),
        (EULER, {"shift_terminal": 1.0}, "shift_terminal 1.0"),
        (EULER, {"time_shift_type": "cosine"}, "time_shift_type 'cosine'"),
        (EULER, {"use_dynamic_shifting": "yes"}, "use_dynamic_shifting 'yes'"),
        (EULER, {"scale": 2}, "the key 'scale' is unknown"),
        (EULER, FLUX | {"max_image_seq_len": 256}, "are the same"),
        ("FlowMatchLCMScheduler", {"scale_factors": [0.5, 1.0]}, "scale_factors"),
        ("UniPCMultistepScheduler", FLOW | {"prediction_type": "epsilon"}, "'epsilon'"),
        ("UniPCMultistepScheduler", {"use_flow_sigmas": True}, "'epsilon'"),
        ("UniPCMultistepScheduler", FLOW | {"thresholding": True}, "thresholding True"),
        ("EulerDiscreteScheduler", {"prediction_type": "flow_prediction"}, "flow_prediction"),
    ],
)
def test_a_key_that_changes_a_flow_s_images_is_refused_by_name(
    name: str, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ScheduleError, match=said):
        read_schedule({"_class_name": name, **options})


def test_keys_of_another_scheduler_are_passed_over_as_diffusers_does() -> None:
    """Schedulers made from another's configuration keep its keys."""
    config = {"_class_name": "FlowMatchHeunDiscreteScheduler", "shift": 3.0, **QWEN}
    plain = {"_class_name": "FlowMatchHeunDiscreteScheduler", "shift": 3.0}
    left, right = (sampling_levels(read_schedule(c), OWN, 10) for c in (config, plain))
    assert np.array_equal(left.sigmas, right.sigmas)


def test_two_spacings_at_once_are_refused() -> None:
    config = {"_class_name": EULER, "use_karras_sigmas": True, "use_beta_sigmas": True}
    assert read_schedule(config).not_own == (
        "only one of use_karras_sigmas and use_beta_sigmas may be true"
    )
