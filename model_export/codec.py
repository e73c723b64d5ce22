"""Fitting the patch codec, and its folder in a bundle and in a training run."""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffusion.codec import PatchPCACodec
from model_export.errors import ExportError

WEIGHTS = "diffusion_pytorch_model.safetensors"


def to_tensor(pictures: NDArray[np.uint8]) -> Tensor:
    """Return pictures (N, H, W, 3) of 0..255 as (N, 3, H, W) float32 in [−1, 1]."""
    return torch.from_numpy(pictures.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1


def to_pixels(pictures: Tensor) -> NDArray[np.uint8]:
    """Return pictures (N, 3, H, W) in [−1, 1] as (N, H, W, 3) of 0..255."""
    levels = ((pictures + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    result: NDArray[np.uint8] = levels.permute(0, 2, 3, 1).contiguous().numpy()
    return result


def save_codec(folder: Path, codec: PatchPCACodec) -> None:
    """Write the codec as a bundle's ``vae`` folder."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.contiguous() for key, value in codec.state_dict().items()}
    save_file(state, folder / WEIGHTS, {"format": "pt"})
    size = {"patch_size": codec.patch_size, "latent_channels": len(codec.scales)}
    config = {"_class_name": "PatchPCACodec", **size}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")


def load_codec(folder: Path) -> PatchPCACodec:
    """Read what :func:`save_codec` wrote.

    Raises:
        ExportError: it is missing or broken.
    """
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))
        codec = PatchPCACodec(config["patch_size"], config["latent_channels"])
        codec.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, SafetensorError) as error:
        raise ExportError(f"{folder} holds no usable codec ({error})") from error
    return codec
