"""``SD3Transformer2DModel``: Stable Diffusion 3 and 3.5, with two CLIPs and, if it is there, T5."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from diffusion.backbones.backbone import Condition, Inputs
from diffusion.backbones.layout import Layout, Loaded
from diffusion.backends.backend import torch_name
from diffusion.config import Key, Table, only, whole
from diffusion.config_keys import CHANNELS, HEADS, LAYERS, index_keys
from diffusion.errors import BundleError
from diffusion.model import Conditioning
from diffusion.parts.loading import read_config
from diffusion.parts.open import TorchParts
from diffusion.parts.prompt import Part, load_clip
from diffusion.parts.t5 import T5Encoder

T5_TOKENS = 256

_LAYERS = Key(
    lambda v: isinstance(v, list) and all(whole(0, 63).fits(each) for each in v),
    "a list of layers",
)

TRANSFORMER: Table = {
    "_class_name": only("SD3Transformer2DModel").needed,
    "sample_size": whole(1, 1024).needed,
    "patch_size": whole(1, 32).needed,
    "in_channels": CHANNELS.needed,
    "out_channels": CHANNELS.needed,
    "num_layers": LAYERS,
    "attention_head_dim": whole(1, 4096).needed,
    "num_attention_heads": HEADS.needed,
    "joint_attention_dim": CHANNELS.needed,
    "caption_projection_dim": CHANNELS.needed,
    "pooled_projection_dim": CHANNELS.needed,
    "pos_embed_max_size": whole(1, 1024).needed,
    "dual_attention_layers": _LAYERS,
    "qk_norm": only(None, "rms_norm", "layer_norm"),
}


class SD3Transformer:
    """The transformer; all its prompts have one length."""

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer
        self.name = torch_name(transformer.dtype)

    def inputs(self, conditions: Sequence[Condition]) -> Inputs:
        """Return states (N, L, D) and pooled prompts (N, P)."""
        dtype = self.transformer.dtype
        pooled = [each.prompt.pooled for each in conditions if each.prompt.pooled is not None]
        return {
            "encoder_hidden_states": torch.stack([c.prompt.embeddings for c in conditions]).to(
                dtype
            ),
            "pooled_projections": torch.stack(pooled).to(dtype),
        }

    def predict(self, sample: Tensor, c_noise: Tensor, inputs: Inputs) -> Tensor:
        """Return the flow's velocity (N, C, h, w) float32; ``c_noise`` is 1000·t."""
        velocity: Tensor = self.transformer(
            hidden_states=sample.to(self.transformer.dtype),
            timestep=c_noise,
            return_dict=False,
            **inputs,
        )[0]
        return velocity.float()


class Prompts:
    """CLIP's states side by side, T5's behind them, and the CLIPs' pooled prompts."""

    def __init__(
        self, clips: Sequence[Part], t5: T5Encoder | None, width: int, device: torch.device
    ) -> None:
        """``width`` is that of T5's states; where there is no T5, zeros stand for them."""
        self._clips = clips
        self._t5 = t5
        self._width = width
        self._device = device

    def encode(self, prompts: list[str]) -> list[Conditioning]:
        """Return one conditioning per prompt (Esser et al. 2024, figure 2)."""
        tokenized = [part.tokenize(prompts) for part in self._clips]
        encoded = [
            part.encoder(tokens.to(self._device))
            for part, (tokens, _) in zip(self._clips, tokenized, strict=True)
        ]
        states = torch.cat([output[0] for output in encoded], -1)
        pooled = torch.cat([output[1] for output in encoded], -1)
        behind = self._behind(prompts)
        embeddings = [
            torch.cat([pad(row, (0, self._width - row.shape[-1])), each.embeddings])
            for row, each in zip(states, behind, strict=True)
        ]
        cut = zip(*(found for _, found in tokenized), strict=True)
        truncations = [
            (*(found for found in row if found), *each.truncations)
            for row, each in zip(cut, behind, strict=True)
        ]
        rows = zip(embeddings, pooled, truncations, strict=True)
        return [Conditioning(*row) for row in rows]

    def _behind(self, prompts: list[str]) -> list[Conditioning]:
        if self._t5 is not None:
            return self._t5.encode(prompts)
        zeros = torch.zeros(T5_TOKENS, self._width, device=self._device)
        return [Conditioning(zeros) for _ in prompts]


def _load(folder: Path, index: Mapping[str, Any], parts: TorchParts) -> Loaded:
    config = read_config(folder / "transformer", TRANSFORMER)
    if wrong := _wrong(config):
        raise BundleError(f"transformer/config.json: {wrong}")
    clips = [load_clip(folder, suffix, parts.encoder, True) for suffix in ("", "_2")]
    t5 = None
    if (folder / "text_encoder_3").is_dir():
        t5 = T5Encoder.load(folder, "_3", parts.device, parts.dtype, length=T5_TOKENS)
    if wrong := _wrong_prompts(config, clips, t5):
        raise BundleError(f"transformer/config.json: {wrong}")

    def backbone() -> SD3Transformer:
        from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel

        return SD3Transformer(parts.network(SD3Transformer2DModel, "transformer", config))

    patch = config["patch_size"]
    return Loaded(
        backbone=backbone,
        text=Prompts(clips, t5, config["joint_attention_dim"], parts.device),
        channels=config["in_channels"],
        side=config["sample_size"],
        multiple=patch,
        token=patch,
        max_side=patch * config["pos_embed_max_size"],
    )


def _wrong(config: Mapping[str, Any]) -> str | None:
    """Return what does not fit in the network."""
    given, taken = config["out_channels"], config["in_channels"]
    if given != taken:
        return f"the transformer takes {taken} channels and gives {given}"
    inner = config["num_attention_heads"] * config["attention_head_dim"]
    if config["caption_projection_dim"] != inner:
        return f"caption_projection_dim is {config['caption_projection_dim']}, not {inner}"
    side, patch = config["sample_size"], config["patch_size"]
    if side % patch:
        return f"sample_size {side} is no multiple of patch_size {patch}"
    if side > patch * config["pos_embed_max_size"]:
        return f"sample_size {side} takes more than {config['pos_embed_max_size']} patches"
    return None


def _wrong_prompts(
    config: Mapping[str, Any], clips: Sequence[Part], t5: T5Encoder | None
) -> str | None:
    """Return what does not fit between the network and the text encoders."""
    if unprojected := [part.name for part in clips if part.pooled is None]:
        return f"the pooled prompt needs projections, and {unprojected[0]} has none"
    pooled = sum(part.pooled or 0 for part in clips)
    if config["pooled_projection_dim"] != pooled:
        return (
            f"pooled_projection_dim is {config['pooled_projection_dim']}, the CLIPs give {pooled}"
        )
    width = config["joint_attention_dim"]
    if t5 is not None and t5.width != width:
        return f"joint_attention_dim is {width}, {t5.name} gives {t5.width}"
    if (both := sum(part.width for part in clips)) > width:
        return f"joint_attention_dim is {width}, the CLIPs give {both}"
    if clips[0].length != clips[1].length:
        return f"the CLIPs read {clips[0].length} and {clips[1].length} tokens"
    return None


SD3 = Layout(
    network="transformer",
    pipelines=(
        "StableDiffusion3Pipeline", "StableDiffusion3Img2ImgPipeline",
        "StableDiffusion3InpaintPipeline",
    ),
    index=index_keys(
        "transformer", "vae", "text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2",
        optional=("text_encoder_3", "tokenizer_3"),
    ),
    load=_load,
    steps=28,
    guidance_scale=7.0,
)  # fmt: skip
