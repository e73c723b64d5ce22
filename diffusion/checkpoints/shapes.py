"""The configurations of networks, from the shapes of their tensors."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

from diffusion.checkpoints.families import UNET, ClipPart, Family
from diffusion.checkpoints.tokenizer import POSITIONS, TOKENS
from diffusion.errors import BundleError

HEAD_DIM = 64
Shapes = Mapping[str, tuple[int, ...]]


def unet_config(shapes: Shapes, family: Family, side: int) -> dict[str, Any]:
    """Return a UNet's configuration; ``shapes`` are of the file's own names.

    Raises:
        BundleError: the names or shapes are of no UNet of the family.
    """
    own = {n.removeprefix(UNET): shape for n, shape in shapes.items() if n.startswith(UNET)}
    levels = _levels(own)
    channels = [_shape(own, f"input_blocks.{level[0]}.0.in_layers.2.weight")[0] for level in levels]
    down = [[_depth(own, f"input_blocks.{block}.1.") for block in level] for level in levels]
    up = _up_depths(own, len(levels), len(levels[0]) + 1)
    crosses = [n for n in own if n.endswith(".transformer_blocks.0.attn2.to_k.weight")]
    if not crosses or any(len(level) != len(levels[0]) for level in levels):
        raise BundleError("its UNet is of no shape that is known")
    projection = crosses[0].partition(".transformer_blocks.")[0] + ".proj_in.weight"
    return {
        "_class_name": "UNet2DConditionModel",
        "act_fn": "silu",
        "in_channels": _shape(own, "input_blocks.0.0.weight")[1],
        "out_channels": _shape(own, "out.2.weight")[0],
        "sample_size": side,
        "block_out_channels": channels,
        "layers_per_block": len(levels[0]),
        "down_block_types": _types(down, "Down"),
        "up_block_types": _types(up, "Up"),
        **_middle(own),
        "cross_attention_dim": _shape(own, crosses[0], 2)[1],
        "attention_head_dim": family.heads or [max(1, each // HEAD_DIM) for each in channels],
        "use_linear_projection": len(own.get(projection, ())) == 2,
        **_depths(down, up),
        **_added(own, shapes, family),
        **family.unet,
    }


def _shape(shapes: Shapes, name: str, rank: int = 4) -> tuple[int, ...]:
    if name not in shapes:
        raise BundleError(f"{name} is missing")
    if len(shapes[name]) != rank:
        raise BundleError(f"{name} is {list(shapes[name])}, not of {rank} dimensions")
    return shapes[name]


def _numbered(names: Iterable[str], prefix: str) -> int:
    """Return how many numbers follow a prefix in the names."""
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    return len({match[1] for name in names if (match := pattern.match(name))})


def _levels(own: Shapes) -> list[list[int]]:
    """Return the numbers of the input blocks at each resolution."""
    levels: list[list[int]] = [[]]
    for block in range(1, _numbered(own, "input_blocks.")):
        if f"input_blocks.{block}.0.op.weight" in own:
            levels.append([])
        else:
            levels[-1].append(block)
    if not all(levels):
        raise BundleError("its UNet is of no shape that is known")
    return levels


def _depth(own: Shapes, block: str) -> int:
    return _numbered(own, f"{block}transformer_blocks.")


def _up_depths(own: Shapes, levels: int, layers: int) -> list[list[int]]:
    blocks = [[level * layers + layer for layer in range(layers)] for level in range(levels)]
    return [[_depth(own, f"output_blocks.{block}.1.") for block in level] for level in blocks]


def _types(depths: list[list[int]], way: str) -> list[str]:
    return [f"{'CrossAttn' if any(level) else ''}{way}Block2D" for level in depths]


def _middle(own: Shapes) -> dict[str, Any]:
    """Return the middle block's type: distilled networks keep one layer of it, or none."""
    count = _numbered(own, "middle_block.")
    if count == 3:
        return {}
    return {"mid_block_type": "UNetMidBlock2D" if count == 1 else None}


def _depths(down: list[list[int]], up: list[list[int]]) -> dict[str, Any]:
    """Return how many transformer blocks each level or, in distilled networks, each layer has."""
    downs, ups = [_level_depth(level) for level in down], [_level_depth(level) for level in up]
    if all(depth == 1 for depth in (*downs, *ups)):
        return {}
    found: dict[str, Any] = {"transformer_layers_per_block": downs}
    if ups != downs[::-1]:
        found["reverse_transformer_layers_per_block"] = ups
    return found


def _level_depth(layers: list[int]) -> int | list[int]:
    return max(layers[0], 1) if len(set(layers)) == 1 else layers


def _added(own: Shapes, shapes: Shapes, family: Family) -> dict[str, Any]:
    """Return the keys of SDXL's conditioning: the pooled prompt and the sizes of an image."""
    last = family.encoders[-1]
    if not last.projects:
        return {}
    given = _shape(own, "label_emb.0.0.weight", 2)[1]
    pooled = _shape(shapes, f"{last.prefix}text_projection", 2)[1]
    return {
        "addition_embed_type": "text_time",
        "addition_time_embed_dim": (given - pooled) // 6,
        "projection_class_embeddings_input_dim": given,
    }


def vae_config(shapes: Shapes, family: Family, side: int) -> dict[str, Any]:
    """Return a VAE's configuration; ``shapes`` are of diffusers' names.

    Raises:
        BundleError: the names are of no VAE.
    """
    levels = _numbered(shapes, "encoder.down_blocks.")
    first = "encoder.down_blocks.{}.resnets.0.conv1.weight"
    latents = _shape(shapes, "decoder.conv_in.weight")[1]
    return {
        "_class_name": "AutoencoderKL",
        "act_fn": "silu",
        "in_channels": _shape(shapes, "encoder.conv_in.weight")[1],
        "out_channels": _shape(shapes, "decoder.conv_out.weight")[0],
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": [_shape(shapes, first.format(level))[0] for level in range(levels)],
        "layers_per_block": _numbered(shapes, "encoder.down_blocks.0.resnets."),
        "latent_channels": latents,
        "norm_num_groups": 32,
        "sample_size": side * 2 ** (levels - 1) if levels else side,
        "scaling_factor": family.scaling_factor,
        **family.vae,
    }


def clip_config(shapes: Shapes, encoder: ClipPart) -> dict[str, Any]:
    """Return a text encoder's configuration; ``shapes`` are of transformers' names.

    Raises:
        BundleError: the names are of no CLIP, or its vocabulary is not CLIP's.
    """
    words, width = _shape(shapes, "text_model.embeddings.token_embedding.weight", 2)
    if words != TOKENS:
        raise BundleError(f"{encoder.part} knows {words} tokens, and CLIP's tokenizer {TOKENS}")
    layers = _numbered(shapes, "text_model.encoder.layers.")
    inner = _shape(shapes, "text_model.encoder.layers.0.mlp.fc1.weight", 2)[0]
    positions = _shape(shapes, "text_model.embeddings.position_embedding.weight", 2)[0]
    if positions != POSITIONS:
        raise BundleError(f"{encoder.part} reads {positions} tokens, and CLIP {POSITIONS}")
    projected = shapes.get("text_projection.weight", (width,))[0]
    return {
        "architectures": [encoder.kind],
        "model_type": "clip_text_model",
        "hidden_size": width,
        "intermediate_size": inner,
        "projection_dim": projected,
        "num_hidden_layers": layers,
        "num_attention_heads": max(1, width // HEAD_DIM),
        "max_position_embeddings": positions,
        "vocab_size": words,
        "hidden_act": "gelu" if encoder.open_clip else "quick_gelu",
        "layer_norm_eps": 1e-05,
        "bos_token_id": 0,  # nosec B105
        # As in the files of CLIP's authors: the prompt's end is found by argmax.
        "eos_token_id": 2,  # nosec B105
        "pad_token_id": 1,  # nosec B105
    }
