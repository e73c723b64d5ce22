"""What a worker announces of its model's samplers is what its tables are."""

from dataclasses import replace
from typing import Any

import pytest

from diffusion.bundle.bundle import Bundle
from diffusion.model import OF_SAMPLER
from diffusion.samplers.registry import SAMPLERS, compile_table
from diffusion.schedules.flow import FlowSchedule
from diffusion.schedules.levels import OWN
from diffusion.schedules.scheduler_config import read_schedule
from diffusion.schedules.shift import DynamicShift, Shift
from jobs.catalogue import resolve
from jobs.errors import InvalidRequest
from jobs.schema import JobRequest
from workers.runtime.catalogue import model_entry, sampler_entry

CONFIGS: dict[str, dict[str, Any]] = {
    "flow": {"_class_name": "FlowMatchHeunDiscreteScheduler", "shift": 3.0},
    "edm": {"_class_name": "EDMEulerScheduler"},
    "v of zero SNR": {
        "_class_name": "EulerDiscreteScheduler", "prediction_type": "v_prediction",
        "rescale_betas_zero_snr": True, "timestep_spacing": "trailing",
    },
    "noise": {"_class_name": "PNDMScheduler", "skip_prk_steps": True},
}  # fmt: skip


@pytest.mark.parametrize("name", CONFIGS)
def test_rows_that_are_announced_are_those_of_the_tables(name: str) -> None:
    noise_schedule = read_schedule(CONFIGS[name])
    for sampler, info in SAMPLERS.items():
        entry = sampler_entry(sampler, noise_schedule)
        assert entry.schedules == info.offered(noise_schedule)
        assert entry.default_schedule in entry.schedules
        for schedule in entry.schedules:
            for steps in (1, 2, 3, 4, 5, 11):
                table = compile_table(sampler, noise_schedule, schedule=schedule, steps=steps)
                assert entry.rows(steps, schedule) == table.rows, (sampler, schedule, steps)


def test_steps_that_a_schedule_has_no_levels_for_are_not_offered() -> None:
    entry = sampler_entry("lcm", read_schedule({"_class_name": "LCMScheduler"}))
    assert (entry.max_steps, entry.schedule_max_steps) == (1000, {OWN: 50})
    assert (entry.most_steps(OWN), entry.most_steps("trailing")) == (50, 1000)


def lcm(bundle: Bundle, **info: Any) -> Any:
    noise_schedule = read_schedule({"_class_name": "LCMScheduler"})
    known = replace(bundle.info, default_sampler="lcm", default_schedule=OWN, **info)
    return model_entry(known, noise_schedule)


def test_a_job_of_too_many_steps_for_the_model_s_schedule_is_refused_at_the_door(
    bundle: Bundle,
) -> None:
    model = lcm(bundle)
    request = JobRequest(prompt="a red apple", num_inference_steps=51)
    with pytest.raises(InvalidRequest, match="schedule 'model' supports at most 50 steps"):
        resolve(request, model)
    assert resolve(request.model_copy(update={"schedule": "trailing"}), model).schedule
    lowered = resolve(JobRequest(prompt="a red apple"), lcm(bundle, default_steps=60))
    assert lowered.num_inference_steps == 50


def test_levels_that_follow_the_size_are_counted_at_the_model_s_own(bundle: Bundle) -> None:
    dynamic = FlowSchedule(Shift(dynamic=DynamicShift()))
    info = replace(bundle.info, token_side=16)
    entry = model_entry(info, dynamic)
    assert {sampler.name for sampler in entry.samplers} == set(SAMPLERS)
    assert info.image_tokens(1024, 768) == 64 * 48
    assert bundle.info.image_tokens(1024, 768) is None


def test_a_model_without_a_schedule_of_its_own_announces_none(bundle: Bundle) -> None:
    assert model_entry(bundle.info, bundle.noise_schedule).default_schedule == OWN
    without = replace(bundle.info, default_schedule=OF_SAMPLER)
    assert model_entry(without, bundle.noise_schedule).default_schedule is None


def test_a_sampler_that_has_no_schedule_for_the_model_is_not_announced(bundle: Bundle) -> None:
    noise_schedule = read_schedule(
        {"_class_name": "EDMEulerScheduler", "final_sigmas_type": "sigma_min"}
    )
    names = {sampler.name for sampler in model_entry(bundle.info, noise_schedule).samplers}
    assert names == set(SAMPLERS) - {"lcm"}


def test_names_of_classes_are_listed_unless_they_are_too_many(bundle: Bundle) -> None:
    names = ("tench, Tinca tinca", "", "hen")
    known = replace(bundle.info, prompt="class", classes=1000, class_names=names)
    entry = model_entry(known, bundle.noise_schedule)
    assert (entry.classes, entry.class_names) == (1000, names)
    many = replace(known, class_names=("a name",) * 30_000)
    entry = model_entry(many, bundle.noise_schedule)
    assert (entry.classes, entry.class_names) == (None, ())
