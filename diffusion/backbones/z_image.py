"""``ZImageTransformer2DModel``: Z-Image and Z-Image-Turbo."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion.backbones.backbone import Condition, Inputs
from diffusion.backbones.layout import Layout, Loaded
from diffusion.backends.backend import torch_name
from diffusion.config import FLAG, Table, each, number, only, whole
from diffusion.config_keys import CHANNELS, DEPTH, HEADS, NONE, index_keys
from diffusion.errors import BundleError
from diffusion.parts.loading import read_config
from diffusion.parts.open import TorchParts
from diffusion.parts.qwen3 import Qwen3

PATCH = 2  # latents a side
SIDE = 128  # of the base resolution: 1024 pixels
TOKENS = 512  # that the pipeline reads of a prompt
BUCKET = 32  # the network pads prompts to a multiple of so many tokens

TRANSFORMER: Table = {
    "_class_name": only("ZImageTransformer2DModel").needed,
    "all_patch_size": only([PATCH]),
    "all_f_patch_size": only([1]),
    "in_channels": CHANNELS.needed,
    "dim": CHANNELS.needed,
    "n_layers": DEPTH.needed,
    "n_refiner_layers": DEPTH,
    "n_heads": HEADS.needed,
    "n_kv_heads": HEADS,
    "norm_eps": number(0, 1),
    "qk_norm": FLAG,
    "cap_feat_dim": CHANNELS.needed,
    "rope_theta": number(1, 1e12),
    "t_scale": number(1e-6, 1e6),
    "axes_dims": each(whole(2, 1024), 3).needed,
    "axes_lens": each(whole(1, 2**20), 3).needed,
    "siglip_feat_dim": NONE,  # of networks that take an image
    "quantization_config": NONE,
}


class ZImage:
    """The transformer, which takes 1 − t and returns x0 − ε, in lists of an entry a row."""

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer
        self.name = torch_name(transformer.dtype)

    def inputs(self, conditions: Sequence[Condition]) -> Inputs:
        """Return the states of each prompt, (L, D).

        Prompts of different lengths share a pass by the attention mask of the network itself.
        """
        dtype, prompts = self.transformer.dtype, [each.prompt for each in conditions]
        return {"states": [each.embeddings[: each.tokens].to(dtype) for each in prompts]}

    def predict(self, sample: Tensor, c_noise: Tensor, inputs: Inputs) -> Tensor:
        """Return the flow's velocity (N, C, h, w) float32; ``c_noise`` is 1000·t."""
        images = sample.to(self.transformer.dtype)[:, :, None].unbind()  # each of one frame
        times = (1000 - c_noise) / 1000
        output = self.transformer(list(images), times, inputs["states"], return_dict=False)[0]
        return -torch.stack(output).squeeze(2).float()


def _load(folder: Path, index: Mapping[str, Any], parts: TorchParts) -> Loaded:
    config = read_config(folder / "transformer", TRANSFORMER)
    if wrong := _wrong(config):
        raise BundleError(f"transformer/config.json: {wrong}")
    text = Qwen3.load(folder, parts.device, parts.dtype, length=TOKENS, multiple=BUCKET)
    if config["cap_feat_dim"] != text.width:
        raise BundleError(
            f"transformer/config.json: cap_feat_dim is {config['cap_feat_dim']}, "
            f"the text encoder gives {text.width}"
        )

    def backbone() -> ZImage:
        from diffusers.models.transformers.transformer_z_image import ZImageTransformer2DModel

        return ZImage(parts.network(ZImageTransformer2DModel, "transformer", config))

    return Loaded(
        backbone=backbone,
        text=text,
        channels=config["in_channels"],
        side=SIDE,
        multiple=PATCH,
        token=PATCH,
        max_side=PATCH * min(config["axes_lens"][1:]),
    )


def _wrong(config: Mapping[str, Any]) -> str | None:
    """Return what does not fit in the network."""
    dim, heads, axes = config["dim"], config["n_heads"], config["axes_dims"]
    if config.get("n_kv_heads", heads) != heads:
        return f"n_kv_heads {config['n_kv_heads']} is not served, only n_heads, {heads}"
    if len(axes) != 3 or any(axis % 2 for axis in axes) or heads * sum(axes) != dim:
        return f"axes_dims {axes} are not three even numbers of the sum dim / n_heads"
    positions = config["axes_lens"]
    if len(positions) != 3 or positions[0] < TOKENS + 2 or min(positions[1:]) < SIDE // PATCH:
        return f"axes_lens {positions} are too few for {TOKENS} tokens and {SIDE}×{SIDE} latents"
    return None


Z_IMAGE = Layout(
    network="transformer",
    pipelines=("ZImagePipeline", "ZImageImg2ImgPipeline", "ZImageInpaintPipeline"),
    index=index_keys("transformer", "vae", "text_encoder", "tokenizer"),
    load=_load,
    ends="once_shifted",
    steps=8,
    guidance_scale=1.0,
)
