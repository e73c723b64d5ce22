"""Our codec's folder, in a bundle and in a training run, and the images it is given."""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor

from diffusion.codec import PatchPCACodec
from diffusion.parts.open import CODEC_WEIGHTS


def to_tensor(images: NDArray[np.uint8]) -> Tensor:
    """Return images (N, H, W, 3) of 0..255 as (N, 3, H, W) float32 in [−1, 1]."""
    return torch.from_numpy(images.copy()).permute(0, 3, 1, 2).float() / 127.5 - 1


def save_codec(folder: Path, codec: PatchPCACodec) -> None:
    """Write the codec as :func:`diffusion.parts.open.load_codec` reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {key: value.contiguous() for key, value in codec.state_dict().items()}
    save_file(state, folder / CODEC_WEIGHTS, {"format": "pt"})
    size = {"patch_size": codec.patch_size, "latent_channels": len(codec.scales)}
    config = {"_class_name": "PatchPCACodec", **size}
    (folder / "config.json").write_text(json.dumps(config, indent=2) + "\n", "utf-8")
