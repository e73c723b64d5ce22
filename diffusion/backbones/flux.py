"""``FluxTransformer2DModel``: FLUX.1 dev and schnell."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from diffusion.backbones.backbone import Condition, Inputs
from diffusion.backbones.layout import Layout, Loaded
from diffusion.backends.backend import torch_name
from diffusion.config import FLAG, Table, each, only, whole
from diffusion.config_keys import CHANNELS, DEPTH, HEADS, NONE, index_keys
from diffusion.errors import BundleError
from diffusion.model import Conditioning
from diffusion.parts.loading import read_config
from diffusion.parts.open import TorchParts
from diffusion.parts.prompt import Encoder, Part, load_clip, torch_encoder
from diffusion.parts.t5 import T5Encoder

PATCH = 2  # latents a side
SIDE = 128  # of the base resolution, in latents: the pipeline's default
TOKENS = 512  # that the pipeline reads of a prompt
AXES = [16, 56, 56]  # diffusers' default of axes_dims_rope

TRANSFORMER: Table = {
    "_class_name": only("FluxTransformer2DModel").needed,
    "patch_size": only(1),
    "in_channels": CHANNELS.needed,
    "out_channels": CHANNELS.nullable,
    "num_layers": DEPTH.needed,
    "num_single_layers": DEPTH.needed,
    "attention_head_dim": whole(1, 1024).needed,
    "num_attention_heads": HEADS.needed,
    "joint_attention_dim": CHANNELS.needed,
    "pooled_projection_dim": CHANNELS.needed,
    "guidance_embeds": FLAG.needed,
    "axes_dims_rope": each(whole(2, 1024), 3),
    "quantization_config": NONE,
}


class Flux:
    """The transformer, which takes patches of 2×2 latents, t and, if it embeds it, guidance."""

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer
        self.name = torch_name(transformer.dtype)

    def inputs(self, conditions: Sequence[Condition]) -> Inputs:
        """Return states (N, L, D), pooled prompts (N, P) and the scales (N,) if it takes them."""
        dtype = self.transformer.dtype
        states = torch.stack([each.prompt.embeddings for each in conditions]).to(dtype)
        pooled = [each.prompt.pooled for each in conditions if each.prompt.pooled is not None]
        scales = None
        if self.transformer.config.guidance_embeds:
            scales = torch.tensor([each.guidance_scale for each in conditions]).to(states.device)
        return {
            "encoder_hidden_states": states,
            "pooled_projections": torch.stack(pooled).to(dtype),
            "guidance": scales,
        }

    def predict(self, sample: Tensor, c_noise: Tensor, inputs: Inputs) -> Tensor:
        """Return the flow's velocity (N, C, h, w) float32; ``c_noise`` is 1000·t."""
        rows, columns = (side // PATCH for side in sample.shape[-2:])
        tokens = inputs["encoder_hidden_states"].shape[1]
        velocity: Tensor = self.transformer(
            hidden_states=pixel_unshuffle(sample.to(self.transformer.dtype), PATCH).flatten(2).mT,
            timestep=c_noise / 1000,
            img_ids=_positions(rows, columns, sample.device),
            txt_ids=torch.zeros(tokens, 3, device=sample.device),
            return_dict=False,
            **inputs,
        )[0]
        patches = velocity.float().mT.reshape(len(sample), -1, rows, columns)
        return pixel_shuffle(patches, PATCH)


def _positions(rows: int, columns: int, device: torch.device) -> Tensor:
    """Return 0, row and column of each patch (rows · columns, 3)."""
    sides = (torch.arange(n, device=device).float() for n in (1, rows, columns))
    return torch.cartesian_prod(*sides)


class PooledClip:
    """CLIP's pooled prompt."""

    def __init__(self, encoder: Any) -> None:
        self._encoder = encoder

    def __call__(self, tokens: Tensor) -> tuple[Tensor, ...]:
        """Return the last states (N, L, D) and the pooled prompts (N, D)."""
        output = self._encoder(tokens)
        return output.last_hidden_state.float(), output.pooler_output.float()


class Prompts:
    """T5's states of a prompt, its padding among them, and CLIP's pooled prompt."""

    def __init__(self, clip: Part, t5: T5Encoder, device: torch.device) -> None:
        self._clip = clip
        self._t5 = t5
        self._device = device

    def encode(self, prompts: list[str]) -> list[Conditioning]:
        """Return one conditioning per prompt."""
        tokens, cut = self._clip.tokenize(prompts)
        pooled = self._clip.encoder(tokens.to(self._device))[1]
        return [
            replace(each, pooled=row, truncations=(*((found,) if found else ()), *each.truncations))
            for each, row, found in zip(self._t5.encode(prompts), pooled, cut, strict=True)
        ]


def _load(folder: Path, index: Mapping[str, Any], parts: TorchParts) -> Loaded:
    config = read_config(folder / "transformer", TRANSFORMER)
    if wrong := _wrong(config):
        raise BundleError(f"transformer/config.json: {wrong}")

    def pooled(part: str, text: Mapping[str, Any], _: bool) -> Encoder:
        return PooledClip(torch_encoder(folder / part, text, parts.dtype).to(parts.device))

    clip = load_clip(folder, "", pooled, False)
    t5 = T5Encoder.load(folder, "_2", parts.device, parts.dtype, length=TOKENS)
    if wrong := _wrong_prompts(config, clip, t5):
        raise BundleError(f"transformer/config.json: {wrong}")

    def backbone() -> Flux:
        from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel

        return Flux(parts.network(FluxTransformer2DModel, "transformer", config))

    embeds_guidance = config["guidance_embeds"]
    return Loaded(
        backbone=backbone,
        text=Prompts(clip, t5, parts.device),
        channels=config["in_channels"] // PATCH**2,
        side=SIDE,
        multiple=PATCH,
        token=PATCH,
        embeds_guidance=embeds_guidance,
        steps=28 if embeds_guidance else 4,
        guidance_scale=3.5 if embeds_guidance else 1.0,
    )


def _wrong(config: Mapping[str, Any]) -> str | None:
    """Return what does not fit in the network."""
    taken, given = config["in_channels"], config.get("out_channels")
    if given not in (None, taken):
        return f"the transformer takes {taken} channels and gives {given}: it takes an image, too"
    if taken % PATCH**2:
        return f"in_channels {taken} are not those of patches of {PATCH}×{PATCH} latents"
    axes, head = config.get("axes_dims_rope", AXES), config["attention_head_dim"]
    if len(axes) != 3 or any(axis % 2 for axis in axes) or sum(axes) != head:
        return f"axes_dims_rope {axes} are not three even numbers of the sum {head}"
    return None


def _wrong_prompts(config: Mapping[str, Any], clip: Part, t5: T5Encoder) -> str | None:
    """Return what does not fit between the network and the text encoders."""
    if config["joint_attention_dim"] != t5.width:
        return f"joint_attention_dim is {config['joint_attention_dim']}, {t5.name} gives {t5.width}"
    if clip.pooled is not None:
        return f"the pooled prompt is CLIPTextModel's, and {clip.name} projects it"
    if config["pooled_projection_dim"] != clip.width:
        return (
            f"pooled_projection_dim is {config['pooled_projection_dim']}, "
            f"{clip.name} gives {clip.width}"
        )
    return None


FLUX = Layout(
    network="transformer",
    pipelines=("FluxPipeline", "FluxImg2ImgPipeline", "FluxInpaintPipeline"),
    index=index_keys(
        "transformer", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2"
    ),
    load=_load,
    ends="once_shifted",
)
