"""Stable Diffusion 1.5, 2.1 and XL: tiny and random, and real on the device "meta"."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.diffusion.checkpoints import original
from tests.diffusion.checkpoints.original import Tensors

CROSS, DOWN = "CrossAttnDownBlock2D", "DownBlock2D"
SD1, SD2, SDXL = "Stable Diffusion 1.5", "Stable Diffusion 2.1", "Stable Diffusion XL"
TITLES = (SD1, SD2, SDXL)
OPEN_CLIP_LAYERS = 23  # that Stable Diffusion 2 uses, of 24


@dataclass(frozen=True, eq=False)
class Model:
    """The networks of a checkpoint."""

    unet: Any
    vae: Any
    encoders: tuple[Any, ...]

    def tensors(self) -> Tensors:
        """Return everything under the original names."""
        return original.unet(self.unet) | original.vae(self.vae) | self.text()

    def text(self) -> Tensors:
        """Return the text encoders' tensors."""
        first, *second = self.encoders
        if second:
            return original.clip(first, "conditioner.embedders.0.transformer.") | (
                original.open_clip(second[0], "conditioner.embedders.1.model.")
            )
        if first.config.hidden_act == "gelu":
            return original.open_clip(first, "cond_stage_model.model.", last_layer=True)
        return original.clip(first, "cond_stage_model.transformer.")


def tiny(title: str) -> Model:
    """Return a model of few channels, and as many heads as its family has for them."""
    torch.manual_seed(3)
    if title == SD1:
        unet = _unet((32, 64), (CROSS, DOWN), 64, attention_head_dim=8)
        return Model(unet, _vae(32, 64), (_text(64),))
    if title == SD2:
        unet = _unet(
            (64, 128), (CROSS, DOWN), 64, attention_head_dim=(1, 2), use_linear_projection=True
        )
        return Model(unet, _vae(32, 64), (_text(64, "gelu", OPEN_CLIP_LAYERS),))
    unet = _unet(
        (64, 128), (DOWN, CROSS), 128, attention_head_dim=(1, 2), use_linear_projection=True,
        transformer_layers_per_block=(1, 2), addition_embed_type="text_time",
        addition_time_embed_dim=8, projection_class_embeddings_input_dim=6 * 8 + 64,
    )  # fmt: skip
    second = _text(64, "gelu", kind=CLIPTextModelWithProjection)
    return Model(unet, _vae(32, 64, scaling_factor=0.13025), (_text(64), second))


def real(title: str) -> Model:
    """Return a model of the real architecture, without its memory."""
    with torch.device("meta"):
        return REAL[title]()


def _real_sd1() -> Model:
    unet = _unet((320, 640, 1280, 1280), (CROSS,) * 3 + (DOWN,), 768, 2, attention_head_dim=8)
    return Model(unet, _real_vae(), (_text(768, "quick_gelu", 12, heads=12),))


def _real_sd2() -> Model:
    unet = _unet(
        (320, 640, 1280, 1280), (CROSS,) * 3 + (DOWN,), 1024, 2, attention_head_dim=(5, 10, 20, 20),
        use_linear_projection=True,
    )  # fmt: skip
    return Model(unet, _real_vae(), (_text(1024, "gelu", OPEN_CLIP_LAYERS, heads=16),))


def _real_sdxl() -> Model:
    unet = _unet(
        (320, 640, 1280), (DOWN, CROSS, CROSS), 2048, 2, attention_head_dim=(5, 10, 20),
        use_linear_projection=True, transformer_layers_per_block=(1, 2, 10),
        addition_embed_type="text_time", addition_time_embed_dim=256,
        projection_class_embeddings_input_dim=2816,
    )  # fmt: skip
    second = _text(1280, "gelu", 32, heads=20, kind=CLIPTextModelWithProjection)
    return Model(unet, _real_vae(), (_text(768, "quick_gelu", 12, heads=12), second))


REAL: dict[str, Callable[[], Model]] = {SD1: _real_sd1, SD2: _real_sd2, SDXL: _real_sdxl}


def _unet(
    channels: tuple[int, ...], down: tuple[str, ...], cross: int, layers: int = 1, **options: Any
) -> UNet2DConditionModel:
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=channels,
        down_block_types=down,
        up_block_types=tuple(kind.replace("Down", "Up") for kind in reversed(down)),
        layers_per_block=layers,
        cross_attention_dim=cross,
        **options,
    )


def _vae(*channels: int, layers: int = 1, scaling_factor: float = 0.18215) -> AutoencoderKL:
    return AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=layers,
        latent_channels=4,
        scaling_factor=scaling_factor,
    )


def changed(network: Any, **values: Any) -> Any:
    """Return a network of the same configuration but for these values, and of other weights."""
    config = {key: value for key, value in network.config.items() if not key.startswith("_")}
    return type(network).from_config(config | values)


def _real_vae() -> AutoencoderKL:
    return _vae(128, 256, 512, 512, layers=2)


def _text(
    width: int,
    activation: str = "quick_gelu",
    layers: int = 3,
    heads: int = 1,
    kind: Any = CLIPTextModel,
) -> Any:
    config = CLIPTextConfig(
        vocab_size=49408,
        hidden_size=width,
        intermediate_size=4 * width,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        projection_dim=width,
        hidden_act=activation,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=1,
    )
    return kind(config).eval()


def write_file(path: Path, title: str, dtype: torch.dtype = torch.float32) -> Path:
    """Write a tiny model as a single file."""
    tensors = tiny(title).tensors()
    floats = {n: t.to(dtype) if t.is_floating_point() else t for n, t in tensors.items()}
    return original.write(path, floats)
