"""Decoding tile by tile: large images in the memory of a tile."""

from torch import Tensor

from diffusion.codec import Decoder, KLDecoder

WHOLE_PIXELS = 2**21
"""Larger images are decoded in tiles: whole, each 2**20 pixels take a VAE 3 GB in halves."""
OVERLAPS = 4
"""Tiles overlap by a quarter, so that their sides are multiples of four latents."""


class TilingDecoder:
    """diffusers' decoder, in tiles that overlap and are blended where an image is too large.

    A VAE attends to the whole image, so that tiles make another one: the colours of large even
    areas may differ from tile to tile.
    """

    def __init__(self, inner: KLDecoder, whole_pixels: int = WHOLE_PIXELS, share: int = 1) -> None:
        """A tile is as wide and high as what the VAE was trained on, over ``share``."""
        config = inner.vae.config
        self.inner = inner
        self.name = inner.name
        self._whole_pixels = whole_pixels
        self._factor = 2 ** (len(config.block_out_channels) - 1)
        side = config.sample_size // self._factor // share
        self._side = max(OVERLAPS, side // OVERLAPS * OVERLAPS)  # latents

    @property
    def tiled(self) -> "TilingDecoder":
        """The same decoder, in smaller tiles whatever the size."""
        return TilingDecoder(self.inner, whole_pixels=0, share=2)

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (B, 3, H, W) float32 in [−1, 1]."""
        vae, (height, width) = self.inner.vae, latents.shape[-2:]
        vae.use_tiling = height * width * self._factor**2 > self._whole_pixels
        vae.tile_latent_min_size = self._side
        vae.tile_sample_min_size = self._side * self._factor
        return self.inner.decode(latents)


def in_tiles(decoder: Decoder) -> Decoder:
    """Return a decoder that works in small tiles, or the same one if it cannot."""
    found: Decoder = getattr(decoder, "tiled", decoder)
    return found
