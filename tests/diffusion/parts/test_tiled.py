"""Decoding in tiles: whole below a size, and the same image nearly, in the memory of a tile."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffusion.bundle.bundle import load_bundle
from diffusion.codec import KLDecoder
from diffusion.parts import tiled
from diffusion.parts.open import TorchParts, load_decoder
from diffusion.parts.tiled import TilingDecoder, in_tiles
from diffusion.parts.upcast import UpcastDecoder
from tests.bundles import tiny_bundle
from tests.layouts.unet_family import sd15

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sd15(tmp_path_factory.mktemp("tiled") / "sd15")


@pytest.fixture
def plain(folder: Path) -> KLDecoder:
    decoder, _ = load_decoder(folder, CPU, torch.float32)
    assert isinstance(decoder, KLDecoder)
    return decoder


def sizes_decoded(decoder: KLDecoder) -> list[tuple[int, ...]]:
    """Return a list that takes the size of each batch of latents that the VAE decodes."""
    seen: list[tuple[int, ...]] = []

    def look(_: object, inputs: tuple[Tensor, ...]) -> None:
        seen.append(tuple(inputs[0].shape[-2:]))

    decoder.vae.decoder.register_forward_pre_hook(look)
    return seen


def latents(height: int, width: int) -> Tensor:
    return torch.randn(1, 4, height, width, generator=torch.Generator().manual_seed(0))


@torch.inference_mode()
@pytest.mark.parametrize(("height", "width"), [(16, 16), (24, 40), (33, 17), (64, 64)])
def test_large_images_are_decoded_in_tiles(plain: KLDecoder, height: int, width: int) -> None:
    given = latents(height, width)
    wanted = plain.decode(given)
    seen = sizes_decoded(plain)
    whole = TilingDecoder(plain, whole_pixels=wanted.shape[-1] * wanted.shape[-2])
    assert torch.equal(whole.decode(given), wanted)
    assert seen == [(height, width)]
    found = whole.tiled.decode(given)
    assert found.shape == wanted.shape
    assert torch.isfinite(found).all()
    assert max(max(size) for size in seen[1:]) < max(height, width)
    assert torch.equal(whole.decode(given), wanted), "a VAE in tiles stays so"


def test_a_model_s_own_sizes_are_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(folder)
    assert isinstance(bundle.decoder, TilingDecoder)
    seen = sizes_decoded(bundle.decoder.inner)
    bundle.decode(latents(32, 32))
    bundle.decode(latents(32, 32), tiled=True)
    assert seen[0] == (32, 32)
    assert len(seen) > 2


def test_a_decoder_that_is_decoded_again_does_so_in_tiles(folder: Path) -> None:
    parts = TorchParts(folder, CPU)
    vars(parts)["dtype"] = torch.float16
    decoder, _ = parts.decoder()
    assert isinstance(decoder, UpcastDecoder)
    assert decoder.name == "AutoencoderKL in float16, and again in float32"
    huge = torch.full((1, 4, 32, 32), 1e6)
    assert torch.isfinite(in_tiles(decoder).decode(huge)).all()


def test_a_decoder_without_tiles_is_what_it_is(tmp_path: Path) -> None:
    bundle = load_bundle(tiny_bundle(tmp_path / "m"))
    assert in_tiles(bundle.decoder) is bundle.decoder
    assert tiled.WHOLE_PIXELS >= 2 * 1024**2, "SDXL's largest size is decoded whole"
