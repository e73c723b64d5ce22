"""Models of pixels, tiny and random, as the pipelines of diffusers write them."""

from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from diffusers.pipelines.ddim.pipeline_ddim import DDIMPipeline
from diffusers.pipelines.ddpm.pipeline_ddpm import DDPMPipeline
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler


def ddpm(
    folder: Path,
    *,
    kind: Any = DDPMPipeline,
    scheduler: Any = None,
    **unet: Any,
) -> Path:
    """Write a model of pixels without prompts, of 16×16 pixels, and return its folder."""
    torch.manual_seed(3)
    options: dict[str, Any] = {"sample_size": 16, "in_channels": 3, "out_channels": 3} | unet
    kind(
        unet=UNet2DModel(
            block_out_channels=(16, 32),
            layers_per_block=1,
            down_block_types=("DownBlock2D", "AttnDownBlock2D"),
            up_block_types=("AttnUpBlock2D", "UpBlock2D"),
            norm_num_groups=8,
            **options,
        ),
        scheduler=scheduler or DDPMScheduler(),
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def ddim(folder: Path) -> Path:
    """Write a model of grey pixels, wider than high, whose scheduler is DDIM's."""
    return ddpm(
        folder,
        kind=DDIMPipeline,
        scheduler=DDIMScheduler(clip_sample=False),
        sample_size=(8, 16),
        in_channels=1,
        out_channels=1,
    )
