"""What a model is, apart from its weights."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor

from diffusion.errors import BundleError


@dataclass(frozen=True)
class ModelInfo:
    """What door and worker need to know of a model."""

    name: str
    title: str
    width: int  # the base resolution, in pixels
    height: int
    latent_channels: int
    latent_scale_factor: int  # pixels a latent
    prediction_type: str
    num_train_timesteps: int
    sha256: str  # over every file that has a part in the picture
    default_steps: int
    default_sampler: str
    default_guidance_scale: float
    min_side: int
    max_side: int
    side_multiple: int
    max_pixels: int
    languages: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()


OVERRIDES = frozenset(field.name for field in fields(ModelInfo)) - {
    "sha256", "prediction_type", "num_train_timesteps", "latent_channels", "latent_scale_factor",
}  # fmt: skip


def apply_overrides(values: dict[str, Any], overrides: Mapping[str, Any]) -> ModelInfo:
    """Return the info with a bundle's ``sfumato.json`` laid over the derived values.

    Raises:
        BundleError: a key that is not a field, or not one that a bundle may set.
    """
    unknown = sorted(set(overrides) - OVERRIDES)
    if unknown:
        raise BundleError(f"sfumato.json: unknown keys {', '.join(unknown)}")
    merged = values | dict(overrides)
    for key in ("languages", "examples"):
        merged[key] = tuple(merged.get(key, ()))
    return ModelInfo(**merged)


@dataclass(frozen=True, eq=False)
class Conditioning:
    """One prompt, encoded."""

    embeddings: Tensor  # (L, D) float32
    pooled: Tensor | None = None  # (P,) float32, where the model has it (SDXL)

    def zeros(self) -> "Conditioning":
        """Return zeros of the same shapes."""
        pooled = None if self.pooled is None else torch.zeros_like(self.pooled)
        return Conditioning(torch.zeros_like(self.embeddings), pooled)

    def on(self, device: torch.device) -> "Conditioning":
        """Return the same on another device."""
        pooled = None if self.pooled is None else self.pooled.to(device)
        return Conditioning(self.embeddings.to(device), pooled)
