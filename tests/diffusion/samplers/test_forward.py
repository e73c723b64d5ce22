"""The forward process against its definition, one noising step after another."""

import numpy as np
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from diffusion.samplers.forward import add_noise, velocity
from tests.diffusion.samplers.toy import BETAS, SCHEDULE

ALPHAS = torch.from_numpy(SCHEDULE.alphas_cumprod)
COUNT = 40_000


def test_closed_form_has_the_moments_of_the_chain() -> None:
    """x_t = sqrt(1 − β_t)·x_{t−1} + sqrt(β_t)·ε, step by step (Ho et al. 2020, eq. 2)."""
    generator = torch.Generator().manual_seed(0)
    x0 = torch.full((COUNT,), 0.8, dtype=torch.float64)
    chain = x0.clone()
    for t in range(300):
        fresh = torch.randn(COUNT, generator=generator, dtype=torch.float64)
        chain = chain * np.sqrt(1 - BETAS[t]) + fresh * np.sqrt(BETAS[t])
    noise = torch.randn(COUNT, generator=generator, dtype=torch.float64)
    closed = add_noise(x0, noise, torch.full((COUNT,), 299), ALPHAS)
    assert abs(float(chain.mean() - closed.mean())) < 7 * float(closed.std()) / np.sqrt(COUNT)
    assert abs(float(chain.std() / closed.std()) - 1) < 5 / np.sqrt(COUNT)


def test_noising_and_velocity_are_those_of_diffusers() -> None:
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    generator = torch.Generator().manual_seed(3)
    x0, noise = (torch.randn(4, 3, 8, 8, generator=generator) for _ in range(2))
    timesteps = torch.tensor([0, 10, 400, 999])
    noised = add_noise(x0, noise, timesteps, ALPHAS)
    torch.testing.assert_close(noised, scheduler.add_noise(x0, noise, timesteps))
    v = velocity(x0, noise, timesteps, ALPHAS)
    torch.testing.assert_close(v, scheduler.get_velocity(x0, noise, timesteps))
