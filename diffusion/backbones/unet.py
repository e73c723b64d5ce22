"""``UNet2DConditionModel``: Stable Diffusion 1.5, SDXL and their kin."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion.backbones.backbone import Condition
from diffusion.backbones.layout import Layout, Loaded
from diffusion.backends.backend import Backend
from diffusion.config_keys import UNET_INDEX
from diffusion.errors import BundleError
from diffusion.parts.open import OnnxParts, TorchParts
from diffusion.parts.prompt import TextEncoder
from diffusion.parts.unet_config import unet_config


class UNet:
    """A UNet behind one of its backends."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    @property
    def name(self) -> str:
        """The backend's."""
        return self.backend.name

    def predict(self, sample: Tensor, c_noise: Tensor, conditions: Sequence[Condition]) -> Tensor:
        """Return the prediction (N, C, h, w) float32."""
        embeddings = torch.stack([each.prompt.embeddings for each in conditions])
        return self.backend.predict(sample, c_noise, embeddings, _added(conditions))


def _added(conditions: Sequence[Condition]) -> dict[str, Tensor] | None:
    pooled = [each.prompt.pooled for each in conditions if each.prompt.pooled is not None]
    if not pooled:
        return None
    # SDXL: original size, crop corner and target size (Podell et al. 2023, section 2.2).
    ids = [[h, w, 0, 0, h, w] for w, h in (each.size for each in conditions)]
    text_embeds = torch.stack(pooled)
    return {
        "text_embeds": text_embeds,
        "time_ids": torch.tensor(ids, dtype=torch.float32).to(text_embeds.device),
    }


def _load(folder: Path, index: Mapping[str, Any], parts: TorchParts | OnnxParts) -> Loaded:
    config = unet_config(folder)
    zeros = bool(index.get("force_zeros_for_empty_prompt", False))
    text = TextEncoder.load(folder, parts.device, parts.encoder, zeros_for_empty_prompt=zeros)
    if config["cross_attention_dim"] != text.width:
        raise BundleError(
            f"unet/config.json: the unet wants embeddings of {config['cross_attention_dim']}, "
            f"the text encoders give {text.width}"
        )
    _check_added(config, text)
    return Loaded(
        backbone=lambda: UNet(parts.backend()),
        text=text,
        channels=int(config["in_channels"]),
        side=int(config["sample_size"]),
        multiple=2 ** (len(config["block_out_channels"]) - 1),
    )


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


UNET = Layout(
    network="unet",
    pipelines=(
        "StableDiffusionPipeline", "StableDiffusionImg2ImgPipeline",
        "StableDiffusionInpaintPipeline", "StableDiffusionXLPipeline",
        "StableDiffusionXLImg2ImgPipeline", "StableDiffusionXLInpaintPipeline",
    ),
    index=UNET_INDEX,
    load=_load,
    load_export=_load,
)  # fmt: skip
