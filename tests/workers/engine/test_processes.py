"""Models of every process run in the engine: mixed, of several sizes, and resumed."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from diffusion.bundle.bundle import Bundle, load_bundle
from diffusion.samplers.registry import SAMPLERS
from diffusion.schedules.flow import FlowSchedule
from tests.bundles import tiny_bundle, write
from tests.workers.harness import Bench, image_request
from workers.engine.engine import EngineSettings
from workers.engine.messages import Resume, Saved
from workers.engine.sampling_plan import sampling_plan

CONFIGS: dict[str, dict[str, Any]] = {
    "flow": {"_class_name": "FlowMatchEulerDiscreteScheduler", "use_dynamic_shifting": True},
    "heun": {"_class_name": "FlowMatchHeunDiscreteScheduler", "shift": 3.0},
    "edm": {"_class_name": "EDMDPMSolverMultistepScheduler"},
}


@pytest.fixture(scope="module", params=CONFIGS)
def loaded(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tiny_bundle(tmp_path_factory.mktemp("processes") / request.param)
    write(folder / "scheduler" / "scheduler_config.json", **CONFIGS[request.param])
    bundle = load_bundle(folder)
    assert bundle.info.default_schedule == "model"
    bundle.info = replace(bundle.info, token_side=16)
    return bundle


def test_mixed_images_are_those_of_each_alone(loaded: Bundle) -> None:
    requests = [
        image_request(f"{name}-{schedule}", sampler=name, schedule=schedule, steps=steps,
                      width=width, guidance_rescale=rescale)
        for name, steps, width, rescale in (
            ("euler", 5, 32, 0.0), ("heun", 3, 32, 0.7), ("lcm", 1, 32, 0.0), ("unipc", 6, 64, 0.7),
            ("dpmpp_2m_sde", 4, 32, 0.0), ("ddpm", 2, 64, 0.0),
        )
        for schedule in ("model", "karras")
        if schedule in SAMPLERS[name].offered(loaded.noise_schedule)
    ]  # fmt: skip
    mixed = Bench(loaded, EngineSettings(rows_per_tick=4)).draw(*requests)
    for request in requests:
        alone = Bench(loaded).draw(request)[request.job_id, 0]
        assert np.abs(mixed[request.job_id, 0].astype(int) - alone).max() <= 1


@pytest.mark.parametrize("sampler", ["euler", "heun", "dpmpp_3m_sde", "plms"])
def test_a_killed_job_ends_in_the_same_image(loaded: Bundle, sampler: str) -> None:
    asked = image_request(sampler=sampler, schedule="model", steps=6)
    bench = Bench(loaded, EngineSettings(checkpoint_s=0.0))
    whole = bench.draw(asked)["job", 0]
    saved = bench.of(Saved)
    assert saved
    for one in saved[:: max(1, len(saved) // 3)]:
        resumed = replace(asked, resume=Resume(one.row, one.state, one.identity))
        again = Bench(loaded).draw(resumed)["job", 0]
        assert np.abs(again.astype(int) - whole).max() <= 1


def test_levels_follow_the_size_where_the_model_s_do(loaded: Bundle) -> None:
    small, large = (
        sampling_plan("euler", loaded.noise_schedule, "model", 4, None, tokens)
        for tokens in (4, 4096)
    )
    dynamic = isinstance(loaded.noise_schedule, FlowSchedule) and (
        loaded.noise_schedule.shift.dynamic is not None
    )
    assert (small.fingerprint != large.fingerprint) == dynamic
