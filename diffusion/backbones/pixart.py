"""``PixArtTransformer2DModel``: PixArt-Σ and PixArt-α, which attend to T5's states of a prompt."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffusion.backbones.backbone import Condition, Inputs
from diffusion.backbones.layout import Layout, Loaded
from diffusion.backends.backend import torch_name
from diffusion.config import FLAG, HARMLESS, WORD, Table, number, only, whole
from diffusion.config_keys import CHANNELS, HEADS, LAYERS, NONE, OFF, index_keys
from diffusion.errors import BundleError
from diffusion.model import Conditioning
from diffusion.parts.loading import read_config
from diffusion.parts.open import TorchParts
from diffusion.parts.t5 import T5Encoder

TOKENS = {"PixArtSigmaPipeline": 300, "PixArtAlphaPipeline": 120}
"""How much of a prompt each pipeline reads."""

TRANSFORMER: Table = {
    # The published files name the class that the network was part of at first.
    "_class_name": only("PixArtTransformer2DModel", "Transformer2DModel").needed,
    "norm_type": only("ada_norm_single").needed,
    "sample_size": whole(1, 1024).needed,
    "in_channels": CHANNELS.needed,
    "out_channels": CHANNELS.needed,
    "num_attention_heads": HEADS.needed,
    "attention_head_dim": whole(1, 4096).needed,
    "cross_attention_dim": CHANNELS.needed,
    "caption_channels": CHANNELS.nullable.needed,
    "num_layers": LAYERS,
    "patch_size": whole(1, 32).needed,
    "attention_bias": FLAG,
    "activation_fn": WORD,
    "upcast_attention": FLAG,
    "norm_elementwise_affine": FLAG,
    "norm_eps": number(0, 1),
    "interpolation_scale": number(1e-3, 1e3).nullable,
    "use_additional_conditions": FLAG.nullable,
    # Of training, or of other networks of the same class.
    **dict.fromkeys(("dropout", "norm_num_groups", "num_embeds_ada_norm"), HARMLESS),
    "attention_type": only("default"),
    "double_self_attention": OFF,
    "only_cross_attention": OFF,
    "use_linear_projection": OFF,
    "num_vector_embeds": NONE,
}


class PixArt:
    """The transformer; a row attends to its own prompt's tokens, whatever the others' lengths."""

    def __init__(self, transformer: Any) -> None:
        self.transformer = transformer
        self.name = torch_name(transformer.dtype)

    def inputs(self, conditions: Sequence[Condition]) -> Inputs:
        """Return states (N, L, D), how many of each are read (N, 1), and sizes if it takes them."""
        states = torch.stack([each.prompt.embeddings for each in conditions])
        read = torch.tensor([[each.prompt.tokens] for each in conditions])
        sizes = None
        if self.transformer.use_additional_conditions:
            numbers = [(h, w, h / w) for w, h in (each.size for each in conditions)]
            sizes = torch.tensor(numbers, dtype=torch.float32).to(states.device)
        return {
            "states": states.to(self.transformer.dtype),
            "read": read.to(states.device),
            "sizes": sizes,
        }

    def predict(self, sample: Tensor, c_noise: Tensor, inputs: Inputs) -> Tensor:
        """Return the prediction (N, C, h, w) float32, without the variances it comes with."""
        states, sizes = inputs["states"], inputs["sizes"]
        added = None
        if sizes is not None:
            added = {"resolution": sizes[:, :2], "aspect_ratio": sizes[:, 2:]}
        output: Tensor = self.transformer(
            sample.to(self.transformer.dtype),
            encoder_hidden_states=states,
            encoder_attention_mask=(
                torch.arange(states.shape[1], device=sample.device) < inputs["read"]
            ),
            timestep=c_noise,
            added_cond_kwargs=added,
            return_dict=False,
        )[0]
        return output[:, : sample.shape[1]].float()


class Prompts:
    """T5's states of a prompt in lower case without blanks around it, as in training."""

    def __init__(self, t5: T5Encoder) -> None:
        self._t5 = t5

    def encode(self, prompts: list[str]) -> list[Conditioning]:
        """Return one conditioning per prompt."""
        return self._t5.encode([prompt.lower().strip() for prompt in prompts])


def _load(folder: Path, index: Mapping[str, Any], parts: TorchParts) -> Loaded:
    config = read_config(folder / "transformer", TRANSFORMER)
    if wrong := _wrong(config):
        raise BundleError(f"transformer/config.json: {wrong}")
    t5 = T5Encoder.load(
        folder, "", parts.device, parts.dtype, length=TOKENS[index["_class_name"]], masked=True
    )
    wanted = config["caption_channels"] or config["cross_attention_dim"]
    if t5.width != wanted:
        raise BundleError(
            f"transformer/config.json: the transformer wants states of {wanted}, "
            f"the text encoder gives {t5.width}"
        )

    def backbone() -> PixArt:
        from diffusers.models.transformers.pixart_transformer_2d import PixArtTransformer2DModel

        return PixArt(parts.network(PixArtTransformer2DModel, "transformer", config))

    return Loaded(
        backbone=backbone,
        text=Prompts(t5),
        channels=config["in_channels"],
        side=config["sample_size"],
        multiple=config["patch_size"],
    )


def _wrong(config: Mapping[str, Any]) -> str | None:
    """Return what does not fit in the network."""
    given, taken = config["out_channels"], config["in_channels"]
    if given not in (taken, 2 * taken):  # twice: with the variances, learned beside ε
        return f"the transformer takes {taken} channels and gives {given}"
    inner = config["num_attention_heads"] * config["attention_head_dim"]
    attended = config["cross_attention_dim"]
    if config["caption_channels"] is not None and attended != inner:
        return f"cross_attention_dim is {attended}, and captions are projected to {inner}"
    if config["sample_size"] % config["patch_size"]:
        return f"sample_size {config['sample_size']} is no multiple of {config['patch_size']}"
    return None


PIXART = Layout(
    network="transformer",
    pipelines=tuple(TOKENS),
    index=index_keys("transformer", "vae", "text_encoder", "tokenizer"),
    load=_load,
    steps=20,
    guidance_scale=4.5,
)
