"""Codecs turn latents into images. Ours is linear: the principal components of patches."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

PATCH_SIZE = 8
LATENT_CHANNELS = 48


class Decoder(Protocol):
    """Turns latents into images."""

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (B, 3, H, W) float32 in [−1, 1] of latents (B, C, h, w) at sigma 0."""
        ...


class KLDecoder(nn.Module):
    """The decoder of diffusers' ``AutoencoderKL``."""

    mean: Tensor
    std: Tensor

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae
        self.standardised = bool(vae.config.latents_mean and vae.config.latents_std)
        if self.standardised:
            self.register_buffer("mean", _by_channel(vae.config.latents_mean), persistent=False)
            self.register_buffer("std", _by_channel(vae.config.latents_std), persistent=False)

    @property
    def name(self) -> str:
        """The class and the precision, for errors."""
        return f"AutoencoderKL in {str(self.vae.dtype).removeprefix('torch.')}"

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (B, 3, H, W) float32 in [−1, 1]."""
        config = self.vae.config
        if self.standardised:
            scaled = latents * self.std / config.scaling_factor + self.mean
        else:
            shift = getattr(config, "shift_factor", None) or 0.0
            scaled = latents / config.scaling_factor + shift
        scaled = scaled.to(self.vae.dtype)
        images: Tensor = self.vae.decode(scaled, return_dict=False)[0]
        return images.float()


def _by_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32).view(1, -1, 1, 1)


class PixelDecoder:
    """The decoder of models of pixels, which need none."""

    name = "pixels"

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (B, 3, H, W): grey ones in colour, those in colour as they are."""
        return latents.expand(-1, 3, -1, -1)


class PatchPCACodec(nn.Module):
    """Turns images (B, 3, H, W) in [−1, 1] into latents (B, C, H/p, W/p) and back.

    Each p×p patch is projected onto the C strongest principal components, and component c divided
    by ``scales[c]``. Scales in between a common one and each component's own deviation keep weak
    components from drowning in noise or outweighing the others.
    """

    mean: Tensor
    components: Tensor
    scales: Tensor

    def __init__(
        self, patch_size: int = PATCH_SIZE, latent_channels: int = LATENT_CHANNELS
    ) -> None:
        super().__init__()
        self.patch_size = patch_size
        size = 3 * patch_size**2
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("components", torch.zeros(latent_channels, size))
        self.register_buffer("scales", torch.ones(latent_channels))

    @classmethod
    def fit(
        cls, images: Tensor, patch_size: int, latent_channels: int, power: float
    ) -> "PatchPCACodec":
        """Fit the codec to images (N, 3, H, W) in [−1, 1].

        ``power`` 0 gives all components one scale, 1 whitens them; either way the latents' mean
        variance is 1.
        """
        codec = cls(patch_size, latent_channels)
        patches = codec._patches(images).transpose(1, 2).reshape(-1, codec.mean.numel())
        codec.mean.copy_(patches.mean(0))
        variances, vectors = torch.linalg.eigh(torch.cov(patches.T))
        order = variances.argsort(descending=True)[:latent_channels]
        deviations = variances[order].clamp(min=1e-12).sqrt()
        codec.components.copy_(vectors[:, order].T)
        scales = deviations**power
        codec.scales.copy_(scales * ((deviations / scales) ** 2).mean().sqrt())
        return codec

    def _patches(self, images: Tensor) -> Tensor:
        return functional.unfold(images, self.patch_size, stride=self.patch_size)

    def encode(self, images: Tensor) -> Tensor:
        """Return latents (B, C, H/p, W/p) of images (B, 3, H, W) in [−1, 1]."""
        patches = self._patches(images).transpose(1, 2) - self.mean
        latents = (patches @ self.components.T) / self.scales
        rows = images.shape[-2] // self.patch_size
        return latents.transpose(1, 2).reshape(len(images), -1, rows, latents.shape[1] // rows)

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (B, 3, H, W), clamped to [−1, 1]."""
        size = (latents.shape[-2] * self.patch_size, latents.shape[-1] * self.patch_size)
        flat = latents.flatten(2).transpose(1, 2) * self.scales
        patches = (flat @ self.components + self.mean).transpose(1, 2)
        folded = functional.fold(patches, size, self.patch_size, stride=self.patch_size)
        return folded.clamp(-1, 1)


def to_pixels(images: Tensor) -> NDArray[np.uint8]:
    """Return images (N, 3, H, W) in [−1, 1] as (N, H, W, 3) of 0..255, on the CPU."""
    levels = ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
    result: NDArray[np.uint8] = levels.permute(0, 2, 3, 1).cpu().contiguous().numpy()
    return result
