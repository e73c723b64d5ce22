"""Decoders for previews."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_tiny import AutoencoderTiny
from torch import Tensor
from torch.nn import functional

from diffusion.bundle.bundle import Bundle, load_bundle
from diffusion.codec import Decoder, PatchPCACodec, PixelDecoder
from diffusion.errors import BundleError
from diffusion.parts.preview import LatentColours, TinyDecoder, preview_decoder
from tests.bundles import tiny_bundle
from tests.layouts.flows import flux
from tests.layouts.pixels import ddpm
from tests.layouts.unet_family import sd15, sdxl

CPU = torch.device("cpu")


def previews_of(folder: Path, bundle: Bundle) -> Decoder:
    return preview_decoder(folder, bundle.decoder, bundle.info.latent_channels, CPU, torch.float32)


def tiny_decoder(folder: Path, channels: int = 4) -> Path:
    torch.manual_seed(8)
    AutoencoderTiny(
        latent_channels=channels,
        encoder_block_out_channels=(8, 8),
        decoder_block_out_channels=(8, 8),
        num_encoder_blocks=(1, 1),
        num_decoder_blocks=(1, 1),
    ).save_pretrained(folder / "taesd")
    return folder


def smooth(bundle: Bundle, count: int = 3) -> Tensor:
    """Return latents that are smooth, as those of pictures are."""
    torch.manual_seed(9)
    shape = bundle.latent_shape(bundle.info.width, bundle.info.height)
    blots = torch.randn(count, shape[0], 3, 3)
    return functional.interpolate(blots, shape[1:], mode="bicubic")


@pytest.mark.parametrize("write", [sd15, sdxl, flux])
def test_colours_of_latents_are_those_of_the_image(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = write(tmp_path / "m")
    bundle = load_bundle(folder)
    found = previews_of(folder, bundle)
    assert isinstance(found, LatentColours)
    latents = smooth(bundle)
    h, w = latents.shape[-2:]
    images = functional.adaptive_avg_pool2d(bundle.decoder.decode(latents), (h, w))
    colours = found.decode(latents)
    assert colours.shape == images.shape
    unexplained = (colours - images).var() / images.var()
    assert unexplained < 0.85  # of a random decoder, far from linear; one colour leaves 1


def test_a_linear_decoder_is_found_exactly() -> None:
    torch.manual_seed(3)
    weight, bias = 0.05 * torch.randn(3, 6), 0.1 * torch.randn(3)

    class Linear:
        """Colours of latents, eight pixels a side."""

        def decode(self, latents: Tensor) -> Tensor:
            colours = LatentColours(weight, bias).decode(latents)
            return functional.interpolate(colours, scale_factor=8)

    found = LatentColours.fit(Linear(), 6, CPU)
    torch.testing.assert_close(found.weight, weight)
    torch.testing.assert_close(found.bias, bias)


def test_a_distilled_decoder_in_the_folder_is_taken(tmp_path: Path) -> None:
    folder = tiny_decoder(sd15(tmp_path / "m"))
    bundle = load_bundle(folder)
    found = previews_of(folder, bundle)
    assert isinstance(found, TinyDecoder)
    latents = smooth(bundle)
    theirs = AutoencoderTiny.from_pretrained(folder / "taesd").decode(latents).sample
    torch.testing.assert_close(found.decode(latents), theirs)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda folder: tiny_decoder(folder, 16), "taesd/config.json: it decodes 16 channels"),
        (lambda folder: (folder / "taesd" / "config.json").write_text("[]"), "config.json"),
        (
            lambda folder: (folder / "taesd/diffusion_pytorch_model.safetensors").write_bytes(b"x"),
            "diffusion_pytorch_model.safetensors",
        ),
    ],
    ids=["of other latents", "configuration", "weights"],
)
def test_a_distilled_decoder_that_is_broken_is_refused_by_name(
    tmp_path: Path, break_it: Callable[[Path], object], message: str
) -> None:
    folder = tiny_decoder(sd15(tmp_path / "m"))
    bundle = load_bundle(folder)
    break_it(folder)
    with pytest.raises(BundleError, match=message):
        previews_of(folder, bundle)


def test_a_decoder_that_is_cheap_shows_previews_itself(tmp_path: Path) -> None:
    tiny = tiny_bundle(tmp_path / "ours")
    ours = load_bundle(tiny)
    assert isinstance(ours.decoder, PatchPCACodec)
    assert previews_of(tiny, ours) is ours.decoder
    folder = ddpm(tmp_path / "pixels")
    pixels = load_bundle(folder)
    assert isinstance(pixels.decoder, PixelDecoder)
    assert previews_of(folder, pixels) is pixels.decoder
