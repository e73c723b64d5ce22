"""Stable Diffusion 1.5, 2.1, SDXL and their kin, tiny and random, as people have them.

The pipelines of diffusers write them, so their files and keys are the real ones.
"""

import json
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.latent_consistency_models.pipeline_latent_consistency_text2img import (
    LatentConsistencyModelPipeline,
)
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from diffusers.schedulers.scheduling_ddim import DDIMScheduler
from diffusers.schedulers.scheduling_edm_dpmsolver_multistep import EDMDPMSolverMultistepScheduler
from diffusers.schedulers.scheduling_euler_ancestral_discrete import EulerAncestralDiscreteScheduler
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from diffusers.schedulers.scheduling_lcm import LCMScheduler
from diffusers.schedulers.scheduling_pndm import PNDMScheduler
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTextModelWithProjection,
)

from tests.layouts.parts import clip_text, clip_tokenizer, vae

NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
PNDM = {"skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1}
TRAILING = {"timestep_spacing": "trailing", "steps_offset": 1}
GUIDANCE_DIM = 16  # sines of the guidance scale


def sd15(
    folder: Path,
    *,
    kind: Any = StableDiffusionPipeline,
    scheduler: Any = None,
    text: CLIPTextConfig | None = None,
    **unet: Any,
) -> Path:
    """Write Stable Diffusion 1.5 of 32×32 pixels, or a kin of it, and return its folder."""
    torch.manual_seed(1)
    kind(
        vae=vae(0.18215),
        text_encoder=CLIPTextModel(text or clip_text(32)),
        tokenizer=clip_tokenizer(folder),
        unet=unet_network(32, cross=("CrossAttnDownBlock2D", "DownBlock2D"), **unet),
        scheduler=scheduler or PNDMScheduler(**NOISE, **PNDM),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def sd21_base(folder: Path, scheduler: Any = None) -> Path:
    """Write Stable Diffusion 2.1-base: OpenCLIP's 23 layers, heads by block, linear projections."""
    text = clip_text(32, "gelu")
    text.num_hidden_layers = 23
    return sd15(
        folder,
        scheduler=scheduler,
        text=text,
        attention_head_dim=[2, 4],
        use_linear_projection=True,
        upcast_attention=True,
    )


def sd21(folder: Path) -> Path:
    """Write Stable Diffusion 2.1: it predicts v, and its scheduler is DDIM's."""
    options = {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}
    return sd21_base(folder, DDIMScheduler(**NOISE, **options, prediction_type="v_prediction"))


def zero_snr(folder: Path) -> Path:
    """Write a model of v whose schedule begins at noise alone."""
    options = {"clip_sample": False, **TRAILING}
    scheduler = DDIMScheduler(
        **NOISE, **options, prediction_type="v_prediction", rescale_betas_zero_snr=True
    )
    return sd15(folder, scheduler=scheduler)


def lcm(folder: Path) -> Path:
    """Write a latent consistency model, which takes the guidance scale as an input."""
    return sd15(
        folder,
        kind=LatentConsistencyModelPipeline,
        scheduler=LCMScheduler(**NOISE),
        time_cond_proj_dim=GUIDANCE_DIM,
    )


def sdxl(
    folder: Path,
    *,
    zeros_for_empty_prompt: bool = True,
    scheduler: Any = None,
    **unet: Any,
) -> Path:
    """Write Stable Diffusion XL of 32×32 pixels, or a kin of it, and return its folder."""
    torch.manual_seed(2)
    options = {"transformer_layers_per_block": (1, 2)} | unet
    # One time id is 6 numbers of 8 sines each; the pooled prompt comes beside them.
    network = unet_network(
        64,
        cross=("DownBlock2D", "CrossAttnDownBlock2D"),
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=6 * 8 + 32,
        use_linear_projection=True,
        **options,
    )
    StableDiffusionXLPipeline(
        vae=vae(0.13025),
        text_encoder=CLIPTextModel(clip_text(32)),
        text_encoder_2=CLIPTextModelWithProjection(clip_text(32, "gelu")),
        tokenizer=clip_tokenizer(folder),
        tokenizer_2=clip_tokenizer(folder, pad="!"),
        unet=network,
        scheduler=scheduler
        or EulerDiscreteScheduler(
            **NOISE, timestep_spacing="leading", steps_offset=1, interpolation_type="linear"
        ),
        force_zeros_for_empty_prompt=zeros_for_empty_prompt,
        add_watermarker=False,
    ).save_pretrained(folder, safe_serialization=True)
    return folder


def turbo(folder: Path) -> Path:
    """Write SDXL-Turbo: its scheduler is Euler's with noise, spaced from the end."""
    return sdxl(folder, scheduler=EulerAncestralDiscreteScheduler(**NOISE, **TRAILING))


def lightning(folder: Path) -> Path:
    """Write SDXL-Lightning: its scheduler is Euler's, spaced from the end."""
    return sdxl(folder, scheduler=EulerDiscreteScheduler(**NOISE, **TRAILING))


def vega(folder: Path) -> Path:
    """Write a distilled SDXL: no middle block, and numbers of layers that differ on the way up."""
    return sdxl(
        folder,
        mid_block_type=None,
        attention_head_dim=[2, 4],
        transformer_layers_per_block=[1, [2]],
        reverse_transformer_layers_per_block=[[1, 2], 1],
    )


def playground(folder: Path) -> Path:
    """Write Playground v2.5: SDXL's network with the preconditioning of Karras et al. 2022."""
    options = {"sigma_min": 0.002, "sigma_max": 80.0, "sigma_data": 0.5, "solver_order": 2}
    sdxl(folder, scheduler=EDMDPMSolverMultistepScheduler(**options))
    vae = folder / "vae" / "config.json"
    latents = {"latents_mean": [-1.6, 1.1, 0.3, -0.2], "latents_std": [8.4, 5.9, 5.4, 5.3]}
    vae.write_text(json.dumps(json.loads(vae.read_text()) | latents))
    return folder


def lcm_xl(folder: Path) -> Path:
    """Write a latent consistency model of SDXL."""
    return sdxl(folder, scheduler=LCMScheduler(**NOISE), time_cond_proj_dim=GUIDANCE_DIM)


def unet_network(width: int, *, cross: tuple[str, str], **options: Any) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64),
        down_block_types=cross,
        up_block_types=tuple(kind.replace("Down", "Up") for kind in reversed(cross)),
        cross_attention_dim=width,
        norm_num_groups=8,
        **{"attention_head_dim": 4, "layers_per_block": 1, **options},
    )
