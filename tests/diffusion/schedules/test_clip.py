"""Estimates that a model's scheduler clips."""

from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from diffusion.denoiser import Guidance, Level, denoise
from diffusion.model import Conditioning
from diffusion.schedules.clip import estimate_bound
from diffusion.schedules.scheduler_config import read_schedule


@pytest.mark.parametrize(
    ("config", "bound"),
    [
        ({"_class_name": "DDPMScheduler"}, 1.0),
        ({"_class_name": "DDIMScheduler"}, 1.0),
        ({"_class_name": "DDPMScheduler", "clip_sample": False}, None),
        ({"_class_name": "DDPMScheduler", "clip_sample": True, "clip_sample_range": 2.5}, 2.5),
        ({"_class_name": "HeunDiscreteScheduler"}, None),
        ({"_class_name": "LCMScheduler", "clip_sample": True}, 1.0),
        ({"_class_name": "PNDMScheduler", "clip_sample": True}, None),  # has no such argument
        ({"_class_name": "EulerDiscreteScheduler", "clip_sample": True}, None),
        ({}, None),
    ],
)
def test_the_bound_is_the_scheduler_s(config: dict[str, Any], bound: float | None) -> None:
    assert estimate_bound(config) == bound


@pytest.mark.parametrize("name", ["DDIMScheduler", "DDIMParallelScheduler"])
def test_a_scheduler_that_steps_with_other_noise_has_no_levels_of_its_own(name: str) -> None:
    schedule = read_schedule({"_class_name": name})
    assert schedule.own is None
    assert f"{name} with clip_sample True has no sampler of ours" in schedule.not_own


class Fixed:
    """A network that returns the same in any case."""

    name = "fixed"

    def __init__(self, output: torch.Tensor) -> None:
        self.output = output

    def inputs(self, _: Any) -> dict[str, Any]:
        """Return nothing."""
        return {}

    def predict(self, sample: torch.Tensor, *_: Any) -> torch.Tensor:
        """Return it."""
        return self.output.expand(len(sample), -1, -1, -1).clone()


def estimate(values: list[float], clip: float | None) -> list[float]:
    output = torch.tensor(values).view(1, 1, 1, -1)
    guidance = Guidance(Conditioning(torch.zeros(1, 1)), Conditioning(torch.zeros(1, 1)), (8, 8))
    found = denoise(
        Fixed(output), torch.zeros_like(output), [Level(1, 1, 0, 1)], [guidance], clip=clip
    )
    return found.flatten().tolist()


def test_an_estimate_is_clipped_and_a_fault_is_not_hidden() -> None:
    inf = float("inf")
    assert estimate([-3.0, 0.25, 1.5], None) == [-3.0, 0.25, 1.5]
    assert estimate([-3.0, 0.25, 1.5], 1.0) == [-1.0, 0.25, 1.0]
    assert np.isnan(estimate([inf, -inf, float("nan")], 1.0)).all()


def test_ddim_s_own_clipping_is_another_step_than_ours() -> None:
    """What is measured here is why the schedule ``model`` is not offered."""
    x, epsilon = torch.full((1, 1, 1, 1), 1.5), torch.full((1, 1, 1, 1), -1.0)
    moved = {}
    for corrected in (False, True):
        scheduler = DDIMScheduler()
        scheduler.set_timesteps(10)
        options: dict[str, Any] = {"use_clipped_model_output": corrected}
        moved[corrected] = scheduler.step(epsilon, 500, x, **options).prev_sample
    assert (moved[True] - moved[False]).abs().item() > 0.1
    ours = DDPMScheduler()
    ours.set_timesteps(10)
    kept = ours.step(epsilon, 0, x).pred_original_sample
    assert kept.abs().item() <= 1
