"""Sheets of drawings: many at a glance, or a few on their way from noise to image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from diffusion.bundle.bundle import Bundle
from diffusion.samplers.registry import compile_table
from model_export.evaluation.gallery import Gallery, tile
from model_export.evaluation.sampling import SamplingSettings, draw, guided, trajectory

ASKED_COLUMNS = 5
# What people type who have not read which labels there are.
ASKED = (
    "draw me a tiger", "a cute cat", "a blue apple", "purple tiger", "ice cream please",
    "can you paint a red rose?", "my dog", "three bananas", "a tiny green elephant", "hot coffee",
    "I want a pink car", "a happy unicorn", "show me the moon", "a burger with fries", "blue pizza",
    "我想要一个红色的苹果", "请画一只可爱的小狗", "紫色的大象", "给我来一杯啤酒", "一条绿色的鱼",
)  # fmt: skip


def write_sheet(
    path: Path,
    bundle: Bundle,
    gallery: Gallery,
    prompts: str,
    settings: SamplingSettings,
    *,
    columns: int = 20,
    seed: int = 0,
    references: bool = False,
) -> Path:
    """Draw each trained example once and write the drawings as one PNG."""
    texts = gallery.prompts(prompts)
    seeds = [seed * 10_000 + i for i in range(len(texts))]
    cells = np.stack(list(draw(bundle, texts, seeds, settings)))
    if references:
        cells = np.concatenate([gallery.images, cells], axis=2)
    Image.fromarray(tile(cells, columns)).save(path, optimize=True)
    return path


def write_seeds(
    path: Path,
    bundle: Bundle,
    prompts: Sequence[str],
    settings: SamplingSettings,
    *,
    columns: int = 8,
    seed: int = 0,
) -> Path:
    """Draw each prompt with several seeds and write them as one PNG, one row per prompt."""
    texts = [prompt for prompt in prompts for _ in range(columns)]
    seeds = [seed + column for _ in prompts for column in range(columns)]
    cells = list(draw(bundle, texts, seeds, settings))
    Image.fromarray(tile(cells, columns)).save(path, optimize=True)
    return path


def write_asked(path: Path, bundle: Bundle, settings: SamplingSettings, *, seed: int = 0) -> Path:
    """Draw each of :data:`ASKED` once, as it comes, and write them as one PNG."""
    seeds = list(range(seed, seed + len(ASKED)))
    cells = list(draw(bundle, list(ASKED), seeds, settings))
    Image.fromarray(tile(cells, ASKED_COLUMNS)).save(path, optimize=True)
    return path


@torch.inference_mode()
def write_steps(
    path: Path, bundle: Bundle, prompts: Sequence[str], settings: SamplingSettings, *, seed: int = 0
) -> Path:
    """Draw each prompt and write two strips per prompt as one PNG, one column per step.

    The upper strip is the image on its way from noise; the lower one is the network's estimate of
    the finished image at that step.
    """
    table = compile_table(
        settings.sampler, bundle.noise_schedule, schedule=settings.schedule, steps=settings.steps
    )
    guidance = guided(bundle, prompts, settings.guidance_scale)
    seeds = list(range(seed, seed + len(prompts)))
    frames = [
        (bundle.decode(noisy), bundle.decode(estimate))
        for noisy, estimate in trajectory(bundle, table, guidance, seeds)
    ]
    strips = [frame[kind][n] for n in range(len(prompts)) for kind in (0, 1) for frame in frames]
    Image.fromarray(tile(strips, len(frames))).save(path, optimize=True)
    return path
