"""Fuses LoRAs into a model's weight files: W + Σ weight · scale · B·A (Hu et al. 2021, equation 3).

Sums are float32, rounded once to the precision that the weights are stored in.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffusion.errors import BundleError
from diffusion.files import read_json
from diffusion.lora.file import Layers, LowRank, read_lora
from diffusion.parts.weights import difference
from diffusion.tensor_file import read_header


def fuse(folder: Path, loras: Sequence[tuple[Path, float]]) -> list[str]:
    """Fuse LoRAs, each with its weight, into a model's folder; return what each changed, in words.

    Raises:
        BundleError: one is not for this model, or of a kind that is not served; the folder is then
            no longer sound.
    """
    if not (folder / "unet" / "config.json").exists():
        raise BundleError("a LoRA is fused into a UNet, which this model has not")
    unet_config = read_json(folder / "unet" / "config.json")
    read = [(path, weight, read_lora(path, unet_config)) for path, weight in loras]
    for part in sorted({part for _, _, parts in read for part in parts}):
        own = [(path, weight, parts[part]) for path, weight, parts in read if part in parts]
        _fuse_part(folder / part, own)
    return [
        f"{path.name}:{weight:g} in "
        + ", ".join(f"{len(layers)} layers of {part}" for part, layers in parts.items())
        for path, weight, parts in read
    ]


def _fuse_part(folder: Path, loras: Sequence[tuple[Path, float, Layers]]) -> None:
    files = sorted(folder.glob("*.safetensors"))
    where = {_plain(name): file for file in files for name in read_header(file)}
    wanted: dict[Path, dict[str, list[tuple[float, LowRank]]]] = {}
    for path, weight, layers in loras:
        unknown = [layer for layer in layers if _plain(f"{layer}.weight") not in where]
        if unknown:
            raise BundleError(
                f"{path.name} is not for this {folder.name}: {difference((), unknown)}"
            )
        for layer, low_rank in layers.items():
            name = _plain(f"{layer}.weight")
            wanted.setdefault(where[name], {}).setdefault(name, []).append((weight, low_rank))
    for file, changes in wanted.items():
        _fuse_file(file, changes)


def _fuse_file(file: Path, changes: Mapping[str, Sequence[tuple[float, LowRank]]]) -> None:
    tensors = load_file(file)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    for name, tensor in tensors.items():
        if (ours := changes.get(_plain(name))) is not None:
            tensors[name] = _fused(f"{file.parent.name}: {name}", tensor, ours)
    written = file.with_name(f"{file.name}.fused")
    try:
        save_file(tensors, written, metadata=metadata)
        os.replace(written, file)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"{file.parent.name}/{file.name}: {error}") from error
    finally:
        written.unlink(missing_ok=True)


def _fused(name: str, tensor: Tensor, changes: Sequence[tuple[float, LowRank]]) -> Tensor:
    total = tensor.float()
    for weight, low_rank in changes:
        change = low_rank.difference()
        if change.shape[0] != tensor.shape[0] or change.numel() != tensor.numel():
            raise BundleError(
                f"{name} is {list(tensor.shape)}, and {list(change.shape)} in the LoRA"
            )
        total = total + weight * change.reshape(tensor.shape)
    fused = total.to(tensor.dtype).contiguous()
    if not torch.isfinite(fused).all():
        raise BundleError(f"{name} is not finite with the LoRA")
    return fused


def _plain(name: str) -> str:
    """Return a weight's name without the prefix that CLIP has in some versions of its library."""
    return name.removeprefix("text_model.")
