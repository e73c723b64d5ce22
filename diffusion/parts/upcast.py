"""A float16 decoder with a float32 one behind it, for what overflows in float16."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from diffusion.codec import Decoder
from diffusion.parts.tiled import in_tiles

log = logging.getLogger(__name__)


class UpcastDecoder:
    """Decodes images again in float32 whose pixels are not finite in float16.

    Each image's bits depend on its own latents alone: one that is finite stays as it is.
    """

    def __init__(self, half: Decoder, load_full: Callable[[], Decoder]) -> None:
        self.name = f"{decoder_name(half)}, and again in float32"
        self._half = half
        self._load_full = load_full
        self._full: Decoder | None = None  # loaded once it is needed

    @property
    def tiled(self) -> "UpcastDecoder":
        """The same decoder, tile by tile where its decoders can."""

        def full() -> Decoder:
            return in_tiles(self._load_full())

        return UpcastDecoder(in_tiles(self._half), full)

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (B, 3, H, W) float32 in [−1, 1]."""
        images = self._half.decode(latents)
        bad = ~torch.isfinite(images.sum((1, 2, 3)))
        if bad.any():
            log.warning("the decoder overflows in float16; decoding again in float32")
            if self._full is None:
                self._full = self._load_full()
            images[bad] = self._full.decode(latents[bad])
        return images


def decoder_name(decoder: Decoder) -> str:
    """Return what an error calls a decoder."""
    return str(getattr(decoder, "name", type(decoder).__name__))
