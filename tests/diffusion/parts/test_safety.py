"""A model's own safety checker flags what it flags in diffusers' pipeline."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers.image_processor import VaeImageProcessor
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.safety_checker import (
    StableDiffusionSafetyChecker,
    cosine_distance,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from diffusion.bundle.bundle import load_bundle
from diffusion.bundle.contents import notes
from diffusion.errors import BundleError
from diffusion.parts.safety import load_safety_checker
from tests.bundles import tiny_bundle
from tests.diffusion.parts.checkers import ALL, NONE, write_checker

CPU = torch.device("cpu")


def pictures() -> torch.Tensor:
    """Return pictures of waves (N, 3, H, W) in [0, 1]."""
    waves = torch.linspace(0, 12, 40 * 64).reshape(40, 64)
    return torch.stack([(waves * n + torch.arange(3)[:, None, None] * n).sin() for n in range(12)])


@torch.no_grad()
def middle(folder: Path, pixels: torch.Tensor) -> float:
    """Return the cosine that half of the pictures reach with a concept."""
    network = StableDiffusionSafetyChecker.from_pretrained(folder / "safety_checker")
    embeds = network.visual_projection(network.vision_model(pixels)[1])
    return float(cosine_distance(embeds, network.concept_embeds).max(1).values.median())


def test_it_flags_what_it_flags_in_diffusers(tmp_path: Path) -> None:
    extractor = CLIPImageProcessorPil.from_pretrained(
        write_checker(tmp_path / "first", ALL) / "feature_extractor"
    )
    images = (pictures() / 2 + 0.5).permute(0, 2, 3, 1).numpy()
    shown = VaeImageProcessor.numpy_to_pil(images)
    pixels = extractor(shown, return_tensors="pt").pixel_values
    folder = write_checker(tmp_path / "m", middle(tmp_path / "first", pixels))
    network = StableDiffusionSafetyChecker.from_pretrained(folder / "safety_checker")
    pipeline = SimpleNamespace(
        safety_checker=network, feature_extractor=extractor, image_processor=VaeImageProcessor()
    )
    _, wanted = StableDiffusionPipeline.run_safety_checker(
        pipeline, images.copy(), CPU, torch.float32
    )
    assert 2 < sum(wanted) < 10
    checker = load_safety_checker(folder, CPU)
    given = np.stack([np.asarray(each) for each in shown])
    assert list(checker.flags(given)) == wanted
    for each, flag in zip(given, wanted, strict=True):
        assert checker.flags(each[None]) == [flag]


@pytest.mark.parametrize(("threshold", "flag"), [(ALL, True), (NONE, False)])
def test_its_thresholds_are_read(tmp_path: Path, threshold: float, flag: bool) -> None:
    checker = load_safety_checker(write_checker(tmp_path, threshold), CPU)
    assert checker.flags(np.zeros((2, 32, 32, 3), np.uint8)) == [flag, flag]


def test_it_is_named_and_changes_no_picture(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "m")
    sha256 = load_bundle(folder).info.sha256
    write_checker(folder, ALL)
    assert notes(folder) == ("safety_checker is not run unless SFUMATO_SAFETY is set",)
    assert load_bundle(folder).info.sha256 == sha256


def test_without_one_it_is_said(tmp_path: Path) -> None:
    folder = tiny_bundle(tmp_path / "m")
    with pytest.raises(
        BundleError, match=r"^the model has no safety_checker, which SFUMATO_SAFETY"
    ):
        load_safety_checker(folder, CPU)
    write_checker(folder, ALL)
    (folder / "feature_extractor" / "preprocessor_config.json").unlink()
    with pytest.raises(
        BundleError, match=r"feature_extractor/preprocessor_config\.json is missing"
    ):
        load_safety_checker(folder, CPU)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_broken_one_is_refused_by_name(tmp_path: Path, name: str) -> None:
    path = write_checker(tmp_path, ALL) / "safety_checker" / name
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(BundleError, match=rf"^safety_checker/{name}"):
        load_safety_checker(tmp_path, CPU)


def test_weights_of_another_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = write_checker(tmp_path, ALL) / "safety_checker" / "model.safetensors"
    tensors = load_file(path)
    del tensors["concept_embeds"]
    save_file(tensors, path, {"format": "pt"})
    with pytest.raises(BundleError, match=r"^safety_checker: 1 weights are missing"):
        load_safety_checker(tmp_path, CPU)
