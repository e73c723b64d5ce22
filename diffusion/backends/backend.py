"""What runs the UNet: torch, or ONNX Runtime."""

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

Added = Mapping[str, Tensor]
"""LCM's ``timestep_cond`` (N, G), SDXL's ``text_embeds`` (N, P) and ``time_ids`` (N, 6)."""
EXTRAS = ("timestep_cond", "text_embeds", "time_ids")
"""Their order after the inputs that every UNet has."""

DTYPES: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
"""What networks in torch compute in."""


def torch_name(dtype: torch.dtype) -> str:
    """Return the name of torch with networks of this type: the images of each differ."""
    names = {each: name for name, each in DTYPES.items() if each != torch.float32}
    return f"torch-{names[dtype]}" if dtype in names else "torch"


class Backend(Protocol):
    """One forward pass of a UNet."""

    name: str

    def predict(
        self, sample: Tensor, timesteps: Tensor, embeddings: Tensor, added: Added | None
    ) -> Tensor:
        """Return the prediction (N, C, h, w) float32; the caller may overwrite it.

        Args:
            sample: x_t at the training process' scale, (N, C, h, w) float32.
            timesteps: (N,) float32, possibly fractional.
            embeddings: (N, L, D) float32.
            added: what LCM and SDXL need besides, for other models None.
        """
        ...
