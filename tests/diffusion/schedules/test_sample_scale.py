"""A state is scaled to the sample that the process has at its level."""

import numpy as np
import pytest
import torch

from diffusion.samplers.forward import add_noise
from diffusion.schedules.edm import EDMSchedule
from diffusion.schedules.flow import FlowSchedule
from diffusion.schedules.schedule import sample_scale
from diffusion.schedules.shift import Shift
from diffusion.schedules.vp import VPSchedule
from tests.diffusion.samplers.toy import SCHEDULE

X0, NOISE = torch.randn(2, 1, 3, 4, 4, dtype=torch.float64, generator=torch.manual_seed(0))


@pytest.mark.parametrize("timestep", [0, 500, 999])
def test_of_a_variance_preserving_process(timestep: int) -> None:
    alphas_cumprod = torch.from_numpy(SCHEDULE.alphas_cumprod)
    wanted = add_noise(X0, NOISE, torch.tensor([timestep]), alphas_cumprod)
    sigma = float(SCHEDULE.sigma_of(np.array(float(timestep))))
    found = (X0 + sigma * NOISE) * sample_scale(SCHEDULE, sigma)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("time", [0.0, 0.25, 0.9])
def test_of_flow_matching(time: float) -> None:
    sigma = time / (1 - time)
    found = (X0 + sigma * NOISE) * sample_scale(FlowSchedule(Shift(3.0)), sigma)
    torch.testing.assert_close(found, (1 - time) * X0 + time * NOISE)


@pytest.mark.parametrize("sigma", [0.0, 1.0, 80.0])
def test_of_edm_has_the_variance_of_a_preserving_one(sigma: float) -> None:
    scale = sample_scale(EDMSchedule("epsilon"), sigma)
    assert scale**2 * (1 + sigma**2) == pytest.approx(1.0)


def test_at_an_infinite_level_the_state_is_the_noise() -> None:
    for schedule in (FlowSchedule(Shift(3.0)), VPSchedule(SCHEDULE.alphas_cumprod)):
        assert sample_scale(schedule, float("inf")) == 1.0
