"""``UNet2DConditionModel``: Stable Diffusion 1.5, 2.1, SDXL and their kin, LCM among them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from diffusion.backbones.backbone import Condition, Inputs
from diffusion.backbones.layout import Layout, Loaded
from diffusion.backends.backend import Backend
from diffusion.config_keys import UNET_INDEX
from diffusion.errors import BundleError
from diffusion.parts.open import OnnxParts, TorchParts
from diffusion.parts.prompt import TextEncoder
from diffusion.parts.unet_config import unet_config
from diffusion.parts.weighted_prompt import CHUNKS

EMBEDDINGS = "embeddings"
EARLY_SIDE = 64  # of diffusers below 0.9
LCM_STEPS, LCM_GUIDANCE_SCALE = 4, 8.5  # diffusers' defaults
AMENDING = (
    "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline", "StableDiffusionInpaintPipeline",
)  # fmt: skip


class UNet:
    """A UNet behind one of its backends."""

    def __init__(self, backend: Backend, guidance_dim: int | None = None) -> None:
        """``guidance_dim`` is the width at which the UNet takes the guidance scale (LCM)."""
        self.backend = backend
        self._guidance_dim = guidance_dim

    @property
    def name(self) -> str:
        """The backend's."""
        return self.backend.name

    def inputs(self, conditions: Sequence[Condition]) -> Inputs:
        """Return the embeddings (N, L, D), and what LCM and SDXL take besides."""
        prompts = [each.prompt for each in conditions]
        lengths = {prompt.embeddings.size(0) for prompt in prompts}
        if len(lengths) > 1:
            prompts = [prompt.repeated(max(lengths)) for prompt in prompts]
        embeddings = torch.stack([prompt.embeddings for prompt in prompts])
        added = _added(conditions, embeddings.device)
        if self._guidance_dim is not None:
            scales = [each.guidance_scale for each in conditions]
            embedded = guidance_embedding(scales, self._guidance_dim)
            added["timestep_cond"] = embedded.to(embeddings.device)
        return {EMBEDDINGS: embeddings, **added}

    def predict(self, sample: Tensor, c_noise: Tensor, inputs: Inputs) -> Tensor:
        """Return the prediction (N, C, h, w) float32."""
        added = {name: tensor for name, tensor in inputs.items() if name != EMBEDDINGS}
        return self.backend.predict(sample, c_noise, inputs[EMBEDDINGS], added or None)


def guidance_embedding(scales: Sequence[float], dim: int) -> Tensor:
    """Return the sines that stand for N guidance scales, (N, dim) float32 (Luo et al. 2023).

    The network was distilled with w = scale − 1, in float32: in float64 the sines of 1000·w differ
    by 3e-4.
    """
    half = dim // 2
    spacing = torch.log(torch.tensor(10_000.0)) / (half - 1)
    frequencies = torch.exp(torch.arange(half, dtype=torch.float32) * -spacing)
    w = torch.tensor([scale - 1 for scale in scales], dtype=torch.float32)
    angles = (w * 1000.0)[:, None] * frequencies
    return functional.pad(torch.cat([angles.sin(), angles.cos()], 1), (0, dim % 2))


def _added(conditions: Sequence[Condition], device: torch.device) -> dict[str, Tensor]:
    pooled = [each.prompt.pooled for each in conditions if each.prompt.pooled is not None]
    if not pooled:
        return {}
    # SDXL: original size, crop corner and target size (Podell et al. 2023, section 2.2).
    ids = [[h, w, 0, 0, h, w] for w, h in (each.size for each in conditions)]
    return {
        "text_embeds": torch.stack(pooled),
        "time_ids": torch.tensor(ids, dtype=torch.float32).to(device),
    }


def _load(folder: Path, index: Mapping[str, Any], parts: TorchParts | OnnxParts) -> Loaded:
    config = unet_config(folder)
    xl = str(index.get("_class_name")).startswith("StableDiffusionXL")
    pools_all = config.get("addition_embed_type") == "text"  # a chunk more would change its pooling
    text = TextEncoder.load(
        folder, parts.device, parts.encoder, chunks=1 if pools_all else CHUNKS[-1]
    )
    if config["cross_attention_dim"] != text.width:
        raise BundleError(
            f"unet/config.json: the unet wants embeddings of {config['cross_attention_dim']}, "
            f"the text encoders give {text.width}"
        )
    _check_added(config, text)
    guidance_dim = config.get("time_cond_proj_dim")
    return Loaded(
        backbone=lambda: UNet(parts.backend(), guidance_dim),
        text=text,
        channels=int(config["in_channels"]),
        side=_side(index, config),
        multiple=2 ** (len(config["block_out_channels"]) - 1),
        embeds_guidance=guidance_dim is not None,
        zeros_for_none=bool(index.get("force_zeros_for_empty_prompt", xl)),
        steps=None if guidance_dim is None else LCM_STEPS,
        guidance_scale=None if guidance_dim is None else LCM_GUIDANCE_SCALE,
    )


def _side(index: Mapping[str, Any], config: Mapping[str, Any]) -> int:
    """Return the side that pipelines of Stable Diffusion assume: early files say 32 for all."""
    side, wrote = int(config["sample_size"]), str(config.get("_diffusers_version", ""))
    early = re.match(r"0\.[0-8]\.", wrote) and index.get("_class_name") in AMENDING
    return max(side, EARLY_SIDE) if early else side


def _check_added(unet: Mapping[str, Any], text: TextEncoder) -> None:
    """Compare what the UNet takes beside states with what the text encoders give (SDXL)."""
    if unet.get("addition_embed_type") != "text_time":
        return
    if text.pooled_width is None:
        raise BundleError("unet/config.json: text_time needs a second text encoder that projects")
    sines = unet.get("addition_time_embed_dim") or 0
    given, wanted = 6 * sines + text.pooled_width, unet.get("projection_class_embeddings_input_dim")
    if given != wanted:
        raise BundleError(
            f"unet/config.json: projection_class_embeddings_input_dim is {wanted}, "
            f"the pooled prompt and 6 numbers of {sines} sines make {given}"
        )


def _scheduler(index: Mapping[str, Any], config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the configuration as diffusers' pipelines of Stable Diffusion 1 and 2 amend it."""
    if index.get("_class_name") not in AMENDING:
        return config
    return {**config, "steps_offset": 1, "clip_sample": False}


UNET = Layout(
    network="unet",
    pipelines=(
        "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline", "StableDiffusionXLPipeline",
        "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline",
        "LatentConsistencyModelPipeline", "LatentConsistencyModelImg2ImgPipeline",
    ),
    index=UNET_INDEX,
    load=_load,
    load_export=_load,
    scheduler=_scheduler,
)  # fmt: skip
