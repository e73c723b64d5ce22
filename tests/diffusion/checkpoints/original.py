"""Models of diffusers under the names of the code that trained them: the inverse of converting.

Tiny ones of random weights as files, and the real architectures as headers of files that are holes.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from diffusion.parts.weights import FLOATS

DTYPES = {dtype: name for name, dtype in FLOATS.items()}
RESNET = {
    "norm1": "in_layers.0",
    "conv1": "in_layers.2",
    "time_emb_proj": "emb_layers.1",
    "norm2": "out_layers.0",
    "conv2": "out_layers.3",
    "conv_shortcut": "skip_connection",
}
TOP = {
    "time_embedding.linear_1": "time_embed.0",
    "time_embedding.linear_2": "time_embed.2",
    "add_embedding.linear_1": "label_emb.0.0",
    "add_embedding.linear_2": "label_emb.0.2",
    "conv_in": "input_blocks.0.0",
    "conv_norm_out": "out.0",
    "conv_out": "out.2",
}
ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
CLIP_BLOCK = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
Tensors = dict[str, Tensor]


def _renamed(name: str, names: Mapping[str, str]) -> str:
    for old, new in names.items():
        if name.startswith(f"{old}."):
            return new + name.removeprefix(old)
    return name


def unet(model: Any, prefix: str = "model.diffusion_model.") -> Tensors:
    """Return a UNet's tensors under their original names."""
    layers = int(model.config.layers_per_block)
    state = model.state_dict()
    return {prefix + _unet_name(name, layers, state): tensor for name, tensor in state.items()}


def _unet_name(name: str, layers: int, state: Mapping[str, Tensor]) -> str:
    match = re.match(r"(down|up)_blocks\.(\d+)\.(\w+?)\.(\d+)\.(.*)", name)
    if match is None:
        if (middle := re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", name)) is None:
            return _renamed(name, TOP)
        kind, number, rest = middle.groups()
        place = 2 * int(number) if kind == "resnets" else 1
        return f"middle_block.{place}.{_renamed(rest, RESNET) if kind == 'resnets' else rest}"
    way, block, kind, layer, rest = match.groups()
    first = (layers + 1) * int(block) + (way == "down")
    side = "input_blocks" if way == "down" else "output_blocks"
    if kind == "downsamplers":
        return f"{side}.{first + layers}.0.op.{rest.removeprefix('conv.')}"
    if kind == "upsamplers":
        attention = any(n.startswith(f"up_blocks.{block}.attentions") for n in state)
        return f"{side}.{first + layers}.{2 if attention else 1}.{rest}"
    place = first + int(layer)
    return f"{side}.{place}.{f'0.{_renamed(rest, RESNET)}' if kind == 'resnets' else f'1.{rest}'}"


def vae(model: Any, prefix: str = "first_stage_model.") -> Tensors:
    """Return a VAE's tensors under their original names."""
    last = len(model.config.block_out_channels) - 1
    found = {}
    for name, tensor in model.state_dict().items():
        new = _vae_name(name, last)
        linear = ".attn_1." in new and tensor.ndim == 2
        found[prefix + new] = tensor[:, :, None, None] if linear else tensor
    return found


def _vae_name(name: str, last: int) -> str:
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{last - int(m[1])}.block", name)
    up = r"up_blocks\.(\d)\.upsamplers\.0"
    name = re.sub(up, lambda m: f"up.{last - int(m[1])}.upsample", name)
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    side, middle, rest = name.partition(".mid_block.attentions.0.")
    return f"{side}.mid.attn_1.{_renamed(rest, ATTENTION)}" if middle else name


def clip(model: Any, prefix: str) -> Tensors:
    """Return a text encoder's tensors under the names of transformers of 2022."""
    own = {f"{prefix}text_model.{_bare(n)}": tensor for n, tensor in model.state_dict().items()}
    own[f"{prefix}text_model.embeddings.position_ids"] = torch.arange(77)[None]
    return own


def open_clip(model: Any, prefix: str, last_layer: bool = False) -> Tensors:
    """Return a text encoder's tensors under OpenCLIP's names.

    With ``last_layer`` the block that Stable Diffusion 2 does not use is there, too.
    """
    state = {_bare(name): tensor for name, tensor in model.state_dict().items()}
    found = {
        "positional_embedding": state["embeddings.position_embedding.weight"],
        "token_embedding.weight": state["embeddings.token_embedding.weight"],
        "ln_final.weight": state["final_layer_norm.weight"],
        "ln_final.bias": state["final_layer_norm.bias"],
        "logit_scale": torch.ones(()),
    }
    if "text_projection.weight" in state:
        found["text_projection"] = state["text_projection.weight"].T.contiguous()
    for layer in range(int(model.config.num_hidden_layers)):
        found |= _open_clip_block(state, f"encoder.layers.{layer}.", layer)
    if last_layer:
        extra = int(model.config.num_hidden_layers)
        found |= _open_clip_block(state, "encoder.layers.0.", extra)
    return {prefix + name: tensor for name, tensor in found.items()}


def _open_clip_block(state: Tensors, block: str, number: int) -> Tensors:
    new = f"transformer.resblocks.{number}."
    found: Tensors = {}
    for kind in ("weight", "bias"):
        parts = [state[f"{block}self_attn.{each}_proj.{kind}"] for each in "qkv"]
        found[f"{new}attn.in_proj_{kind}"] = torch.cat(parts)
        for old, short in CLIP_BLOCK.items():
            found[f"{new}{short}.{kind}"] = state[f"{block}{old}.{kind}"].clone()
    return found


def _bare(name: str) -> str:
    return name.removeprefix("text_model.")


def averages(own: Tensors) -> Tensors:
    """Return a UNet's tensors again, under the names of moving averages."""
    return {f"model_ema.{n.removeprefix('model.').replace('.', '')}": t for n, t in own.items()}


def write(path: Path, tensors: Tensors, metadata: dict[str, str] | None = None) -> Path:
    """Write a file of tensors and return its path."""
    save_file({name: each.contiguous() for name, each in tensors.items()}, path, metadata)
    return path


def write_holes(path: Path, tensors: Tensors, dtype: torch.dtype) -> Path:
    """Write the header of a file whose tensors are a hole: it takes no disk, and reads as zeros."""
    header: dict[str, Any] = {}
    end = 0
    for name, each in tensors.items():
        begin, end = end, end + each.numel() * dtype.itemsize
        entry = {"dtype": DTYPES[dtype], "shape": list(each.shape), "data_offsets": [begin, end]}
        header[name] = entry
    text = json.dumps(header).encode()
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return path
