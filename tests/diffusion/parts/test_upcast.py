"""Decoders that overflow: a second try in float32, or an error that names them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from diffusion.bundle.bundle import load_bundle
from diffusion.errors import NonFiniteError
from diffusion.parts.open import TorchParts, load_decoder
from diffusion.parts.upcast import UpcastDecoder
from tests.bundles import tiny_bundle
from tests.layouts.unet_family import sd15

CPU = torch.device("cpu")


class Toy:
    """A decoder that returns its latents, and infinity above a limit."""

    def __init__(self, limit: float, scale: float = 1.0) -> None:
        self.limit = limit
        self.scale = scale
        self.calls: list[int] = []

    def decode(self, latents: Tensor) -> Tensor:
        """Return (B, 3, h, w)."""
        self.calls.append(len(latents))
        images = latents[:, :3] * self.scale
        return torch.where(images.abs() > self.limit, torch.nan, images)


def test_only_images_that_overflow_are_decoded_again_in_float32() -> None:
    half, full, loads = Toy(10.0), Toy(1e9, scale=2.0), 0

    def load() -> Toy:
        nonlocal loads
        loads += 1
        return full

    decoder = UpcastDecoder(half, load)
    latents = torch.ones(3, 4, 2, 2)
    assert torch.equal(decoder.decode(latents), latents[:, :3])
    assert loads == 0
    latents[1, 0, 0, 0] = 50.0
    for _ in range(2):
        images = decoder.decode(latents)
        assert torch.equal(images[0], latents[0, :3])
        assert torch.equal(images[1], 2 * latents[1, :3])
    assert (loads, full.calls) == (1, [1, 1])


def test_a_decoder_stored_in_float16_gets_a_second_try(tmp_path: Path) -> None:
    folder = sd15(tmp_path / "sd15")
    parts = TorchParts(folder, CPU)
    assert not isinstance(parts.decoder()[0], UpcastDecoder)
    vars(parts)["dtype"] = torch.float16  # as on an accelerator, where the weights say it
    decoder, _ = parts.decoder()
    assert isinstance(decoder, UpcastDecoder)
    assert decoder.name == "AutoencoderKL in float16, and again in float32"
    latents = torch.full((1, 4, 16, 16), 1e6)  # float16 ends at 65504
    expected = load_decoder(folder, CPU, torch.float32)[0].decode(latents)
    assert torch.equal(decoder.decode(latents), expected)


def test_pixels_that_are_not_finite_are_an_error_that_names_the_decoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(tiny_bundle(tmp_path / "m"))
    latents = torch.zeros(2, 4, 4, 4)

    class Broken(Toy):
        value = 0.0

        def decode(self, latents: Tensor) -> Tensor:
            images = super().decode(latents)
            images[-1, 0, 0, 0] = self.value
            return images

    monkeypatch.setattr(bundle, "decoder", decoder := Broken(1.0))
    assert len(bundle.decode(latents)) == 2
    for decoder.value in (torch.nan, torch.inf, -torch.inf):
        with pytest.raises(NonFiniteError, match=r"the decoder \(Broken\) returned a non-finite"):
            bundle.decode(latents)
