"""Decoders for previews: cheap, where the model's own takes long."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from diffusion.codec import Decoder
from diffusion.config_keys import TINY_VAE
from diffusion.errors import BundleError
from diffusion.files import TINY_DECODER
from diffusion.parts.loading import load_part, read_config
from diffusion.parts.open import codec_config

KL = "AutoencoderKL"
SAMPLES = 4
SIDE = 16  # of their latents
COARSE = 4  # of the blots that they are made of
FINE = 0.25  # deviation of what is not smooth in them


class LatentColours:
    """One pixel for each latent: the affine map of its channels that fits a decoder best."""

    name = "colours of latents"

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        """Take a (3, C) matrix and three values, of images in [−1, 1]."""
        self.weight = weight
        self.bias = bias

    @classmethod
    @torch.inference_mode()
    def fit(cls, decoder: Decoder, channels: int, device: torch.device) -> "LatentColours":
        """Fit the map to what a decoder makes of smooth noise, by least squares.

        Args:
            decoder: of latents (B, ``channels``, h, w).
            channels: of its latents.
            device: of the decoder; the map is on it, too.
        """
        generator = torch.Generator().manual_seed(0)
        blots = torch.randn(SAMPLES, channels, COARSE, COARSE, generator=generator)
        smooth = functional.interpolate(blots, (SIDE, SIDE), mode="bicubic")
        fine = torch.randn(smooth.shape, generator=generator)
        latents = smooth / smooth.std() + FINE * fine
        images = torch.cat([decoder.decode(each[None].to(device)) for each in latents]).cpu()
        colours = functional.adaptive_avg_pool2d(images.clamp(-1, 1).nan_to_num(0.0), SIDE)
        known = functional.pad(latents.movedim(1, -1).flatten(0, -2), (0, 1), value=1.0)
        wanted = colours.movedim(1, -1).flatten(0, -2)
        found = torch.linalg.lstsq(known.double(), wanted.double()).solution.float().to(device)
        return cls(found[:-1].T.contiguous(), found[-1])

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (B, 3, h, w) float32, as wide and high as latents (B, C, h, w)."""
        return torch.einsum("rc,bchw->brhw", self.weight, latents) + self.bias[:, None, None]


class TinyDecoder:
    """A distilled decoder (Bohan 2023), which takes latents as the network does."""

    name = "AutoencoderTiny"

    def __init__(self, vae: Any) -> None:
        self._vae = vae

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (B, 3, H, W) float32 in [−1, 1]."""
        images: Tensor = self._vae.decode(latents.to(self._vae.dtype), return_dict=False)[0]
        return images.float()


def preview_decoder(
    folder: Path, decoder: Decoder, channels: int, device: torch.device, dtype: torch.dtype | None
) -> Decoder:
    """Return a decoder for previews of a model: the distilled one of its folder, or its colours.

    A decoder that is cheap itself is returned as it is.

    Args:
        folder: the model's.
        decoder: its own.
        channels: of its latents.
        device: that it is on.
        dtype: of a distilled decoder; None: as it is stored.

    Raises:
        BundleError: the distilled decoder is broken or of other latents.
    """
    if not (folder / "vae").is_dir() or codec_config(folder / "vae")["_class_name"] != KL:
        return decoder
    tiny = folder / TINY_DECODER
    if not tiny.is_dir():
        return LatentColours.fit(decoder, channels, device)
    config = read_config(tiny, TINY_VAE)
    if (given := config.get("latent_channels", 4)) != channels:
        raise BundleError(
            f"{tiny.name}/config.json: it decodes {given} channels, the model has {channels}"
        )
    from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny

    vae = load_part(AutoencoderTiny, tiny, config, dtype)
    return TinyDecoder(vae.to(device).eval().requires_grad_(False))
