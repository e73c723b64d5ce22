"""A LoRA's file: which layers of which networks it changes, whoever trained it.

Read are the names of kohya's scripts (``lora_unet_…``), of the original UNet's blocks in them, of
peft and of diffusers; diffusers' own converters translate them. What is no plain ``B·A`` is refused
by name, since dropping it would draw something else.
"""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from diffusion.config import shown
from diffusion.errors import BundleError
from diffusion.parts.weights import FLOATS
from diffusion.tensor_file import read_header

REFUSED = {
    "dora_scale": "DoRA", "lora_magnitude_vector": "DoRA", "hada_": "LoHa", "lokr_": "LoKr",
    "lora_mid": "LoCon with a middle layer", "oft_": "OFT", "boft_": "BOFT", "glora": "GLoRA",
    "on_input": "IA3", ".lora_embedding_": "LoRA of embeddings", ".diff": "full differences",
    "lora_B.bias": "LoRA with biases", "lora_up.bias": "LoRA with biases",
    ".set_weight": "full weights",
}  # fmt: skip
"""What a key contains, and what the file therefore is; in the order in which they are told."""
PARTS = ("unet", "text_encoder", "text_encoder_2")
KOHYA = {"lora_unet_": "unet", "lora_te_": "text_encoder", "lora_te1_": "text_encoder",
         "lora_te2_": "text_encoder_2"}  # fmt: skip
WRAPPED = "base_model.model."  # before peft's own names
METADATA = "lora_adapter_metadata"  # peft's configuration, as diffusers saves it
MOST_METADATA = 2**20  # characters
SIDE = re.compile(r"(?P<layer>.+)\.lora_(?P<side>[AB])(?:\.\w+)?\.weight")


@dataclass(frozen=True)
class LowRank:
    """A layer's difference ``scale · up·down``."""

    down: Tensor  # A: (rank, in, …)
    up: Tensor  # B: (out, rank, …)
    scale: float  # alpha / rank

    def difference(self) -> Tensor:
        """Return the difference (out, in · …) float32."""
        return (self.up.float().flatten(1) @ self.down.float().flatten(1)) * self.scale


Layers = Mapping[str, LowRank]


def read_lora(path: Path, unet_config: Mapping[str, Any]) -> dict[str, Layers]:
    """Return the differences by part of the model and by layer.

    Raises:
        BundleError: it is no LoRA, or of a kind that is not served; the message names the file.
    """
    check_lora(path)
    tensors, metadata = _load(path)
    kohya = all(key.startswith(tuple(KOHYA)) for key in tensors)
    try:
        named, alphas = _translated(tensors, unet_config) if kohya else (_prefixed(tensors), {})
        found = {part: _layers(part, named, alphas, metadata) for part in PARTS}
    except (ValueError, KeyError, IndexError, TypeError, ZeroDivisionError, re.error) as error:
        raise BundleError(
            f"{path.name}: its names are not a LoRA's: {shown(str(error))}"
        ) from error
    return {part: layers for part, layers in found.items() if layers}


def check_lora(path: Path) -> None:
    """Refuse a file by the names of its tensors.

    Raises:
        BundleError: it is no LoRA, or of a kind that is not served.
    """
    header = read_header(path)
    for mark, kind in REFUSED.items():
        if (key := next((key for key in header if mark in key), None)) is not None:
            raise BundleError(f"{path.name} is {kind} ({shown(key)}); only plain LoRA is fused")
    if not any("lora" in key.lower() for key in header):
        raise BundleError(f"{path.name} holds no LoRA: its tensors are {_first(header)}")
    for key, entry in header.items():
        if entry.dtype not in FLOATS:
            raise BundleError(f"{path.name}: {shown(key)} is of {entry.dtype}, which is not served")


def _load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the file's tensors and peft's configuration, flat as diffusers writes it."""
    try:
        with safe_open(path, "pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            text = (file.metadata() or {}).get(METADATA, "{}")
            value = json.loads(text) if len(text) <= MOST_METADATA else None
    except (OSError, SafetensorError, ValueError, RecursionError) as error:
        raise BundleError(f"{path.name}: {error}") from error
    if not isinstance(value, dict):
        raise BundleError(f"{path.name}: its {METADATA} is no object")
    if any(key.endswith("use_dora") and used for key, used in value.items()):
        raise BundleError(f"{path.name} is DoRA (use_dora); only plain LoRA is fused")
    return tensors, value


def _translated(
    tensors: dict[str, Tensor], unet_config: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, float]]:
    """Return kohya's tensors and alphas under diffusers' names."""
    from diffusers.loaders.lora_pipeline import StableDiffusionLoraLoaderMixin

    blocks = SimpleNamespace(layers_per_block=unet_config.get("layers_per_block", 2))
    named, alphas = StableDiffusionLoraLoaderMixin.lora_state_dict(
        dict(tensors), unet_config=blocks
    )
    return named, alphas or {}


def _prefixed(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return tensors whose names begin with their part; a UNet's own names lack it."""
    named = {key.removeprefix(WRAPPED): tensor for key, tensor in tensors.items()}
    if not any(key.startswith(tuple(f"{part}." for part in PARTS)) for key in named):
        named = {f"unet.{key}": tensor for key, tensor in named.items()}
    strange = [key for key in named if key.partition(".")[0] not in PARTS]
    if strange:
        raise ValueError(f"{strange[0]} is of no part of these models")
    return named


def _layers(
    part: str,
    tensors: Mapping[str, Tensor],
    alphas: Mapping[str, float],
    metadata: Mapping[str, Any],
) -> Layers:
    """Return one part's differences, named by its layers."""
    own = [key.removeprefix(f"{part}.") for key in tensors if key.startswith(f"{part}.")]
    sides: dict[str, dict[str, str]] = {}
    for new, old in _peft_names(part, own).items():
        match = SIDE.fullmatch(new)
        if match is None:
            raise ValueError(f"{part}.{old} is no weight of a LoRA")
        sides.setdefault(match["layer"], {})[match["side"]] = f"{part}.{old}"
    found = {}
    for layer, keys in sides.items():
        if len(keys) != 2:
            raise ValueError(f"{part}.{layer} has one side of two")
        down, up = tensors[keys["A"]], tensors[keys["B"]]
        if up.ndim < 2 or down.ndim < 2 or up.flatten(1).shape[1] != down.shape[0]:
            raise ValueError(f"{part}.{layer}: {list(up.shape)} does not follow {list(down.shape)}")
        alpha = alphas.get(f"{keys['A'].split('.lora.')[0]}.alpha")
        scale = _scale(layer, down.shape[0], alpha, _of_part(part, metadata))
        found[layer] = LowRank(down, up, scale)
    return found


def _peft_names(part: str, keys: Iterable[str]) -> dict[str, str]:
    """Return the keys by their names in peft, through diffusers' converters."""
    from diffusers.utils.state_dict_utils import (
        StateDictType,
        convert_state_dict_to_peft,
        convert_unet_state_dict_to_peft,
    )

    same = {key: key for key in keys}
    if part == "unet":
        named = convert_unet_state_dict_to_peft(same)
    elif any(".lora_A." in key for key in same):
        named = same
    else:
        old = any(re.search(r"\.to_(q|k|v|out)_lora\.", key) for key in same)
        kind = StateDictType.DIFFUSERS_OLD if old else StateDictType.DIFFUSERS
        named = convert_state_dict_to_peft(same, original_type=kind)
    return {
        new.replace(".lora.down.", ".lora_A.").replace(".lora.up.", ".lora_B."): old
        for new, old in named.items()
    }


def _of_part(part: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
    prefixed = {
        key.removeprefix(f"{part}."): value
        for key, value in metadata.items()
        if key.startswith(f"{part}.")
    }
    return prefixed or (dict(metadata) if part == "unet" else {})


def _scale(layer: str, rank: int, alpha: float | None, config: Mapping[str, Any]) -> float:
    """Return alpha / rank, or as peft's configuration says; alpha is the rank if nobody does."""
    if alpha is not None:
        return alpha / rank
    patterns: dict[str, float] = config.get("alpha_pattern") or {}
    matching = (value for pattern, value in patterns.items() if _matches(pattern, layer))
    found = next(matching, config.get("lora_alpha", rank))
    return float(found) / (sqrt(rank) if config.get("use_rslora") else rank)


def _matches(pattern: str, layer: str) -> bool:
    """Return whether peft's pattern names a layer: by its whole name, or by its last words."""
    name = pattern.removeprefix("^").removesuffix("$").replace("\\.", ".")
    return layer == name or (not pattern.startswith("^") and layer.endswith(f".{name}"))


def _first(keys: Iterable[str]) -> str:
    return ", ".join(shown(key) for key in list(keys)[:2]) or "none"
