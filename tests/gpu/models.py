"""Stable Diffusion in its real sizes, with random weights made on the device."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.gpu.ground import Ground
from tests.layouts.parts import clip_tokenizer
from tests.layouts.unet_family import NOISE, sd15, sdxl

EULER = {"timestep_spacing": "leading", "steps_offset": 1}


def sdxl_of(ground: Ground) -> Path:
    """Write SDXL, or a tiny one, once; return its folder."""
    return _once(ground, "sdxl", sdxl if ground.tiny else _real_sdxl)


def sd15_of(ground: Ground) -> Path:
    """Write Stable Diffusion 1.5, or a tiny one, once; return its folder."""
    return _once(ground, "sd15", sd15 if ground.tiny else _real_sd15)


def _once(ground: Ground, name: str, write: Callable[..., Path]) -> Path:
    folder = ground.folder / name
    if not folder.exists():
        if ground.tiny:
            write(folder)
        else:
            write(folder, ground)
    return folder


def _real_sdxl(folder: Path, ground: Ground) -> Path:
    with _made_on(ground):
        parts = {
            "unet": UNet2DConditionModel(
                sample_size=128,
                block_out_channels=(320, 640, 1280),
                down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
                up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
                transformer_layers_per_block=(1, 2, 10),
                attention_head_dim=(5, 10, 20),
                cross_attention_dim=2048,
                addition_embed_type="text_time",
                addition_time_embed_dim=256,
                projection_class_embeddings_input_dim=2816,
                use_linear_projection=True,
            ),
            "vae": _vae(0.13025, 1024),
            "text_encoder": CLIPTextModel(_text(768, 12)),
            "text_encoder_2": CLIPTextModelWithProjection(_text(1280, 32, "gelu")),
        }
    pipeline = StableDiffusionXLPipeline(
        **_stored(parts, ground),
        tokenizer=clip_tokenizer(folder),
        tokenizer_2=clip_tokenizer(folder, pad="!"),
        scheduler=EulerDiscreteScheduler(**NOISE, **EULER),
        add_watermarker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def _real_sd15(folder: Path, ground: Ground) -> Path:
    with _made_on(ground):
        parts = {
            "unet": UNet2DConditionModel(sample_size=64, cross_attention_dim=768),
            "vae": _vae(0.18215, 512),
            "text_encoder": CLIPTextModel(_text(768, 12)),
        }
    pipeline = StableDiffusionPipeline(
        **_stored(parts, ground),
        tokenizer=clip_tokenizer(folder),
        scheduler=EulerDiscreteScheduler(**NOISE, **EULER),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipeline.save_pretrained(folder, safe_serialization=True)
    return folder


def _made_on(ground: Ground) -> torch.device:
    torch.manual_seed(1)
    return ground.device


def _stored(parts: dict[str, Any], ground: Ground) -> dict[str, Any]:
    return {name: part.to(ground.dtype) for name, part in parts.items()}


def _vae(scaling_factor: float, side: int) -> AutoencoderKL:
    widths = (128, 256, 512, 512)
    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * len(widths),
        up_block_types=("UpDecoderBlock2D",) * len(widths),
        layers_per_block=2,
        sample_size=side,
        scaling_factor=scaling_factor,
    )


def _text(width: int, layers: int, activation: str = "quick_gelu") -> CLIPTextConfig:
    return CLIPTextConfig(
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=width // 64,
        projection_dim=width,
        hidden_act=activation,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
