"""PixArt and Stable Diffusion 3, tiny and random, as the pipelines of diffusers write them."""

from pathlib import Path

import torch
from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.pipelines.pixart_alpha.pipeline_pixart_alpha import PixArtAlphaPipeline
from diffusers.pipelines.pixart_alpha.pipeline_pixart_sigma import PixArtSigmaPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import (
    StableDiffusion3Pipeline,
)
from diffusers.schedulers.scheduling_dpmsolver_multistep import DPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_flow_match_euler_discrete import (
    FlowMatchEulerDiscreteScheduler,
)
from transformers import (
    CLIPTextModelWithProjection,
)

from tests.layouts.parts import clip_text, clip_tokenizer, t5_encoder, t5_tokenizer, vae


def pixart(folder: Path, *, alpha: bool = False) -> Path:
    """Write PixArt-Σ of 32×32 pixels, or PixArt-α of 256×256, and return its folder."""
    torch.manual_seed(3)
    transformer = PixArtTransformer2DModel(
        num_attention_heads=4,
        attention_head_dim=6,
        in_channels=4,
        out_channels=8,
        num_layers=2,
        cross_attention_dim=24,
        sample_size=128 if alpha else 16,  # α's pipeline gives sizes where it is 128
        caption_channels=32,
        interpolation_scale=2,
        use_additional_conditions=alpha,
    )
    (PixArtAlphaPipeline if alpha else PixArtSigmaPipeline)(
        tokenizer=t5_tokenizer(),
        text_encoder=t5_encoder(32),
        vae=vae(0.18215 if alpha else 0.13025),
        transformer=transformer,
        scheduler=DPMSolverMultistepScheduler(beta_schedule="linear"),
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def sd3(folder: Path, *, t5: bool = True) -> Path:
    """Write Stable Diffusion 3.5 of 32×32 pixels and return its folder."""
    torch.manual_seed(4)
    transformer = SD3Transformer2DModel(
        sample_size=16,
        in_channels=16,
        out_channels=16,
        num_layers=3,
        attention_head_dim=8,
        num_attention_heads=4,
        caption_projection_dim=32,
        joint_attention_dim=72,
        pooled_projection_dim=64,
        pos_embed_max_size=12,
        dual_attention_layers=(0, 1),
        qk_norm="rms_norm",
    )
    StableDiffusion3Pipeline(
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        vae=vae(
            1.5305,
            latent_channels=16,
            shift_factor=0.0609,
            use_quant_conv=False,
            use_post_quant_conv=False,
        ),
        text_encoder=CLIPTextModelWithProjection(clip_text(32)),
        tokenizer=clip_tokenizer(folder),
        text_encoder_2=CLIPTextModelWithProjection(clip_text(32, "gelu")),
        tokenizer_2=clip_tokenizer(folder, pad="!"),
        text_encoder_3=t5_encoder(72) if t5 else None,
        tokenizer_3=t5_tokenizer() if t5 else None,
    ).save_pretrained(folder, safe_serialization=True)
    return folder
