"""Codecs: what turns latents into pictures. Ours is linear, principal components of patches."""

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional


class Decoder(Protocol):
    """What turns latents into pictures."""

    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures (B, 3, H, W) float32 in [−1, 1] of latents (B, C, h, w) at sigma 0."""
        ...


class KLDecoder(nn.Module):
    """The decoder of diffusers' ``AutoencoderKL``."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae

    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures (B, 3, H, W) float32 in [−1, 1]."""
        config = self.vae.config
        shift = getattr(config, "shift_factor", None) or 0.0
        scaled = (latents / config.scaling_factor + shift).to(self.vae.dtype)
        picture: Tensor = self.vae.decode(scaled, return_dict=False)[0]
        return picture.float()


class PatchPCACodec(nn.Module):
    """Turns pictures (B, 3, H, W) in [−1, 1] into latents (B, C, H/p, W/p) and back.

    Each p×p patch is projected on its C strongest principal components. Component c is divided by
    ``scales[c]``; scales between the components' own deviations and one number for all keep weak
    components from being either all noise or all weight.
    """

    mean: Tensor
    components: Tensor
    scales: Tensor

    def __init__(self, patch_size: int = 8, latent_channels: int = 48) -> None:
        super().__init__()
        self.patch_size = patch_size
        size = 3 * patch_size**2
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("components", torch.zeros(latent_channels, size))
        self.register_buffer("scales", torch.ones(latent_channels))

    @classmethod
    def fit(
        cls, pictures: Tensor, patch_size: int = 8, latent_channels: int = 48, power: float = 0.5
    ) -> "PatchPCACodec":
        """Fit the codec to pictures (N, 3, H, W) in [−1, 1].

        ``power`` 0 gives all components one scale, 1 whitens them; the latents' mean variance
        is 1 either way.
        """
        codec = cls(patch_size, latent_channels)
        patches = codec._patches(pictures).transpose(1, 2).reshape(-1, codec.mean.numel())
        codec.mean.copy_(patches.mean(0))
        variances, vectors = torch.linalg.eigh(torch.cov(patches.T))
        order = variances.argsort(descending=True)[:latent_channels]
        deviations = variances[order].clamp(min=1e-12).sqrt()
        codec.components.copy_(vectors[:, order].T)
        scales = deviations**power
        codec.scales.copy_(scales * ((deviations / scales) ** 2).mean().sqrt())
        return codec

    def _patches(self, pictures: Tensor) -> Tensor:
        return functional.unfold(pictures, self.patch_size, stride=self.patch_size)

    def encode(self, pictures: Tensor) -> Tensor:
        """Return latents (B, C, H/p, W/p) of pictures (B, 3, H, W) in [−1, 1]."""
        patches = self._patches(pictures).transpose(1, 2) - self.mean
        latents = (patches @ self.components.T) / self.scales
        rows = pictures.shape[-2] // self.patch_size
        return latents.transpose(1, 2).reshape(len(pictures), -1, rows, latents.shape[1] // rows)

    def decode(self, latents: Tensor) -> Tensor:
        """Return pictures (B, 3, H, W), clamped to [−1, 1]."""
        size = (latents.shape[-2] * self.patch_size, latents.shape[-1] * self.patch_size)
        flat = latents.flatten(2).transpose(1, 2) * self.scales
        patches = (flat @ self.components + self.mean).transpose(1, 2)
        folded = functional.fold(patches, size, self.patch_size, stride=self.patch_size)
        return folded.clamp(-1, 1)
