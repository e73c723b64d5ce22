"""What networks in torch compute in."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diffusion.bundle.bundle import load_bundle
from diffusion.errors import BundleError
from diffusion.parts.open import TorchParts, load_unet
from tests.layouts.flows import flux, z_image
from tests.layouts.pixels import ddpm
from tests.layouts.transformers import pixart, sd3
from tests.layouts.unet_family import sd15, sdxl
from tests.parity.table import ALL, ours

CPU = torch.device("cpu")
OTHERS = (sd15, sdxl, ddpm, pixart, flux, z_image)
LAYOUTS = [sd3, *(pytest.param(each, marks=pytest.mark.full) for each in OTHERS)]


@pytest.mark.parametrize("write", LAYOUTS)
def test_every_family_draws_in_halves_what_it_draws_in_float32(
    write: Callable[[Path], Path], tmp_path: Path
) -> None:
    folder = write(tmp_path / "m")
    entry = replace(next(each for each in ALL if each.write == write), samplers=())
    whole = load_bundle(folder)
    drawn = ours(entry, whole, None, 4).astype(int)
    assert whole.backbone.name == "torch"
    for dtype in ("bf16", "fp16"):
        bundle = load_bundle(folder, dtype=dtype)
        assert bundle.backbone.name == f"torch-{dtype}"
        half = ours(entry, bundle, None, 4).astype(int)
        assert np.abs(half - drawn).mean() < 8, dtype
        assert (half != drawn).any(), dtype


def test_a_dtype_goes_before_the_one_that_is_stored(tmp_path: Path) -> None:
    folder = sd15(tmp_path / "m")
    load_unet(folder, torch.float16).save_pretrained(folder / "unet")
    other = torch.device("meta")  # any that is not the processor
    assert TorchParts(folder, CPU).dtype == torch.float32
    assert TorchParts(folder, other).dtype is None
    assert TorchParts(folder, other, torch.bfloat16).dtype == torch.bfloat16
    assert load_bundle(folder, dtype="bf16").backbone.name == "torch-bf16"


def test_an_export_has_a_precision_of_its_own(exported_tiny: Path) -> None:
    with pytest.raises(BundleError, match="the dtype 'bf16' is torch's"):
        load_bundle(exported_tiny, backend="onnx", dtype="bf16")
    assert load_bundle(exported_tiny, backend="auto", dtype="bf16").backbone.name == "torch-bf16"


def test_an_unknown_dtype_is_named(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="unknown dtype 'fp8'; available: auto, fp32, fp16, bf16"):
        load_bundle(tmp_path, dtype="fp8")
