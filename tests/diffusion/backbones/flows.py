"""A flow's latents by a published loop, asking diffusers' own network."""

from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tests.diffusion.samplers.k_diffusion import Loop

Velocity = Callable[[Tensor, Tensor], Tensor]
"""(x_t of one image (C, h, w), 1000·t) → ε − x_0."""


def by_the_book(
    loop: Loop, velocity: Velocity, noise: Tensor, timesteps: Sequence[float]
) -> Tensor:
    """Return the latents (C, h, w) that a loop without noise makes of noise at these timesteps.

    A loop in sigma space cannot begin at t = 1: the first step is Euler's in t.
    """

    def denoised(x: NDArray[np.float64], sigma: float) -> NDArray[np.float64]:
        t = sigma / (1 + sigma)
        scaled = torch.from_numpy((1 - t) * x).float()
        output = velocity(scaled, torch.tensor(1000 * t)).double().numpy()
        return np.asarray((1 - t) * x - t * output)

    first, *others = (timestep / 1000 for timestep in timesteps)
    assert first == 1
    start = noise.double().numpy()
    estimate = start - velocity(noise, torch.tensor(1000.0)).double().numpy()
    sigmas = np.array([t / (1 - t) for t in others] + [0.0])
    x = loop(denoised, estimate + sigmas[0] * start, sigmas, lambda _: np.zeros_like(start))
    return torch.from_numpy(x).float()


def decoded(pipeline: object, latents: Tensor) -> NDArray[np.uint8]:
    """Return what a pipeline's decoder makes of latents (C, h, w)."""
    vae = pipeline.vae  # type: ignore[attr-defined]
    scaled = latents[None] / vae.config.scaling_factor + vae.config.shift_factor
    image = vae.decode(scaled).sample[0].permute(1, 2, 0)
    pixels: NDArray[np.uint8] = (
        ((image / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8).numpy()
    )
    return pixels


def asked_exactly(scheduler: Any) -> Any:
    """Return a solver of diffusers, asking the network at its state's time instead of a whole one.

    diffusers truncates the timesteps of a flow there, and nowhere else.
    """
    set_timesteps = scheduler.set_timesteps

    @wraps(set_timesteps)
    def exact(*args: Any, **options: Any) -> None:
        set_timesteps(*args, **options)
        scheduler.timesteps = 1000 * scheduler.sigmas[:-1]

    scheduler.set_timesteps = exact
    return scheduler
