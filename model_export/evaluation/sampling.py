"""Draws images as the service does: a bundle, a sampler's table, one forward pass a row."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from diffusion.bundle.bundle import Bundle
from diffusion.denoiser import Guidance, denoise, levels_of
from diffusion.samplers.noise import IMAGES, INITIAL_ROW, standard_noise
from diffusion.samplers.registry import compile_table
from diffusion.samplers.step import linear_part, step
from diffusion.samplers.table import SamplerTable


@dataclass(frozen=True)
class SamplingSettings:
    """How images are drawn."""

    sampler: str = "dpmpp_2m"
    schedule: str | None = None  # None: the sampler's default
    steps: int = 15
    guidance_scale: float = 2.0
    batch: int = 20


@torch.inference_mode()
def draw(
    bundle: Bundle, prompts: Sequence[str], seeds: Sequence[int], settings: SamplingSettings
) -> Iterator[NDArray[np.uint8]]:
    """Yield one image (H, W, 3) uint8 per prompt, the one of its seed, in order."""
    table = compile_table(
        settings.sampler, bundle.noise_schedule, schedule=settings.schedule, steps=settings.steps
    )
    for first in range(0, len(prompts), settings.batch):
        part = slice(first, first + settings.batch)
        guidance = guided(bundle, prompts[part], settings.guidance_scale)
        *_, (latents, _) = trajectory(bundle, table, guidance, seeds[part])
        yield from bundle.decode(latents)


def guided(bundle: Bundle, prompts: Sequence[str], scale: float) -> list[Guidance]:
    """Return how images of the bundle's base size with these prompts are conditioned."""
    info = bundle.info
    size, embedded = (info.width, info.height), info.embeds_guidance
    cond = bundle.encode_prompts(prompts)
    if info.prompt != "text" or embedded:
        return [Guidance(c, c, size, scale if embedded else 1.0, embedded=embedded) for c in cond]
    uncond = bundle.encode_negative("")
    return [Guidance(c, uncond, size, scale) for c in cond]


def trajectory(
    bundle: Bundle, table: SamplerTable, guidance: Sequence[Guidance], seeds: Sequence[int]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield for each row the noisy latents at the training scale and their denoised estimate.

    Both are (B, C, h, w). Last come the final latents, at sigma 0, as both.
    """
    shape = bundle.latent_shape(bundle.info.width, bundle.info.height)
    size = len(guidance)
    state = torch.zeros((size, table.registers, *shape), device=bundle.device)
    state[:, 0] = _noise(seeds, INITIAL_ROW, shape, bundle.device) * table.initial_scale
    for row, level in enumerate(levels_of(table)):
        denoised = denoise(bundle.backbone, state[:, 0], [level] * size, guidance, clip=bundle.clip)
        yield state[:, 0] * level.c_in, denoised
        noise = _noise(seeds, row, shape, bundle.device) if table.noise[row].any() else None
        mix, b, c = (
            torch.tensor(values[row], dtype=torch.float32, device=bundle.device).expand(
                size, *values[row].shape
            )
            for values in (table.mix, table.denoised, table.noise)
        )
        state = step(linear_part(state, noise, mix, c), denoised, b)
    yield state[:, 0], state[:, 0]


def _noise(seeds: Sequence[int], row: int, shape: tuple[int, ...], device: torch.device) -> Tensor:
    arrays = [standard_noise(seed, IMAGES, row, shape) for seed in seeds]
    return torch.from_numpy(np.stack(arrays)).to(device)
