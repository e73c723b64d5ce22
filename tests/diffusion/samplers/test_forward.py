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


def test_closed_form_has_the_mean_and_variance_of_the_paper() -> None:
    generator = torch.Generator().manual_seed(1)
    for t in (0, 250, 999):
        alpha = float(ALPHAS[t])
        noise = torch.randn(COUNT, generator=generator, dtype=torch.float64)
        x0 = torch.full((COUNT,), -0.5, dtype=torch.float64)
        x = add_noise(x0, noise, torch.full((COUNT,), t), ALPHAS)
        deviation = np.sqrt(1 - alpha)
        assert abs(float(x.mean()) + 0.5 * np.sqrt(alpha)) < 5 * deviation / np.sqrt(COUNT)
        assert abs(float(x.std()) / deviation - 1) < 5 / np.sqrt(2 * COUNT)


def test_each_row_of_a_batch_has_its_own_timestep() -> None:
    generator = torch.Generator().manual_seed(2)
    x0, noise = (torch.randn(3, 2, 4, 4, generator=generator) for _ in range(2))
    timesteps = torch.tensor([0, 500, 999])
    batch = add_noise(x0, noise, timesteps, ALPHAS)
    for i in range(3):
        alone = add_noise(x0[i : i + 1], noise[i : i + 1], timesteps[i : i + 1], ALPHAS)
        assert torch.equal(batch[i : i + 1], alone)


def test_noising_and_velocity_are_those_of_diffusers() -> None:
    scheduler = DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012)
    generator = torch.Generator().manual_seed(3)
    x0, noise = (torch.randn(4, 3, 8, 8, generator=generator) for _ in range(2))
    timesteps = torch.tensor([0, 10, 400, 999])
    noised = add_noise(x0, noise, timesteps, ALPHAS)
    torch.testing.assert_close(noised, scheduler.add_noise(x0, noise, timesteps))
    v = velocity(x0, noise, timesteps, ALPHAS)
    torch.testing.assert_close(v, scheduler.get_velocity(x0, noise, timesteps))


def test_velocity_turns_back_into_image_and_noise() -> None:
    generator = torch.Generator().manual_seed(4)
    x0, noise = (torch.randn(1, 3, 8, 8, generator=generator).double() for _ in range(2))
    t = torch.tensor([321])
    x, v = add_noise(x0, noise, t, ALPHAS), velocity(x0, noise, t, ALPHAS)
    a, b = ALPHAS[321].sqrt(), (1 - ALPHAS[321]).sqrt()
    torch.testing.assert_close(a * x - b * v, x0)
    torch.testing.assert_close(b * x + a * v, noise)
