"""Models of pixels: prompts, sizes, grey, and what is refused by name."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion.bundle.bundle import load_bundle
from diffusion.config_keys import PIXEL_UNET
from diffusion.errors import BundleError, PromptError
from diffusion.files import digest
from diffusion.model import ModelInfo
from model_export.evaluation.sampling import SamplingSettings, draw
from model_export.onnx.export import export_bundle
from tests.diffusion.backbones.folders import wrong_refusals
from tests.layouts.pixels import ddim, ddpm

SETTINGS = SamplingSettings(sampler="ddpm", schedule="model", steps=8)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ddpm(tmp_path_factory.mktemp("pixels") / "ddpm")


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ddpm(tmp_path_factory.mktemp("pixels") / "classes", num_class_embeds=10)


def with_values(folder: Path, name: str, **values: Any) -> Path:
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


def copy(source: Path, folder: Path) -> Path:
    return Path(shutil.copytree(source, folder))


def beside_its_index(folder: Path) -> Path:
    for part in ("unet", "scheduler"):
        for path in (folder / part).iterdir():
            path.rename(folder / path.name)
        (folder / part).rmdir()
    return folder


def about(folder: Path) -> ModelInfo:
    return load_bundle(folder).info


def test_a_model_of_pixels_says_what_it_is(plain: Path, labelled: Path, tmp_path: Path) -> None:
    info = about(plain)
    assert (info.width, info.height, info.latent_channels, info.latent_scale_factor) == (
        16,
        16,
        3,
        1,
    )
    assert (info.prompt, info.default_guidance_scale, info.side_multiple) == ("none", 1.0, 2)
    assert about(labelled).prompt == "class"
    wide = about(ddim(tmp_path / "wide"))
    assert (wide.width, wide.height, wide.latent_channels) == (16, 8, 1)


def test_grey_is_drawn_as_a_picture_in_colour(tmp_path: Path) -> None:
    bundle = load_bundle(ddim(tmp_path / "grey"))
    settings = SamplingSettings(sampler="ddim", steps=4)
    (image,) = draw(bundle, [""], [1], settings)
    assert image.shape == (8, 16, 3)
    assert (image == image[..., :1]).all()


def test_a_prompt_without_meaning_changes_nothing(plain: Path) -> None:
    bundle = load_bundle(plain)
    one, other = draw(bundle, ["", "a red apple"], [5, 5], SETTINGS)
    assert np.abs(one.astype(int) - other).max() <= 1


def test_a_prompt_is_a_class_s_number_or_name(labelled: Path, tmp_path: Path) -> None:
    bundle = load_bundle(labelled)
    drawn = list(draw(bundle, ["7", " 7 ", "07", "3"], [5] * 4, SETTINGS))
    assert np.abs(drawn[0].astype(int) - drawn[1]).max() <= 1
    assert np.abs(drawn[0].astype(int) - drawn[2]).max() <= 1
    assert not np.array_equal(drawn[0], drawn[3])
    folder = copy(labelled, tmp_path / "named")
    names = {"7": "Ship, liner", "3": "cat"}
    named = load_bundle(with_values(folder, "model_index.json", id2label=names))
    assert named.info.classes == 10
    assert named.info.class_names == ("", "", "", "cat", "", "", "", "Ship, liner")
    for prompt, label in (("ship", 7), ("LINER", 7), ("cat", 3), ("9", 9)):
        (found,) = named.encode_prompts([prompt])
        assert found.embeddings.item() == label


@pytest.mark.parametrize("prompt", ["", "cat", "10", "-1", "1.0", "¹", "٣", "9" * 4000, "1 2"])
def test_a_prompt_that_is_no_class_is_refused(labelled: Path, prompt: str) -> None:
    with pytest.raises(PromptError, match=r"is no class .* numbered from 0 to 9") as refused:
        load_bundle(labelled).encode_prompts([prompt])
    assert len(str(refused.value)) < 300


def test_classes_embedded_as_timesteps_are(tmp_path: Path) -> None:
    bundle = load_bundle(ddpm(tmp_path / "m", class_embed_type="timestep"))
    one, other = draw(bundle, ["7", "300"], [5, 5], SETTINGS)
    assert not np.array_equal(one, other)


def test_a_model_beside_its_index_is_read_as_diffusers_reads_it(
    plain: Path, tmp_path: Path
) -> None:
    """As the first published ones are."""
    folder = beside_its_index(copy(plain, tmp_path / "m"))
    (wanted,), (found,) = (draw(load_bundle(f), [""], [1], SETTINGS) for f in (plain, folder))
    assert np.array_equal(wanted, found)
    before = digest(folder)
    with_values(folder, "scheduler_config.json", clip_sample_range=0.5)
    assert digest(folder) != before
    (folder / "sfumato.json").write_text("{}")
    before = digest(folder)
    (folder / "sfumato.json").write_text('{"title": "Another"}')
    assert digest(folder) == before
    with_values(folder, "config.json", in_channels=2)
    with pytest.raises(BundleError, match=r"^config\.json: images of 2 channels"):
        load_bundle(folder)


def test_attention_under_its_former_names_is_read(plain: Path, tmp_path: Path) -> None:
    folder = copy(plain, tmp_path / "m")
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    old = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    tensors = {}
    for name, tensor in load_file(path).items():
        new = next((n for n in old if f"attentions.0.{n}." in name), None)
        tensors[name.replace(new, old[new]) if new else name] = tensor
    assert any("down_blocks.1.attentions.0.query" in name for name in tensors)
    save_file(tensors, path, {"format": "pt"})
    (wanted,), (found,) = (draw(load_bundle(f), [""], [1], SETTINGS) for f in (plain, folder))
    assert np.array_equal(wanted, found)


@pytest.mark.parametrize(
    ("file", "values", "named"),
    [
        ("unet/config.json", {"in_channels": 4}, "images of 4 channels"),
        ("unet/config.json", {"out_channels": 6}, "gives 6: variance that is learned"),
        ("unet/config.json", {"time_embedding_type": "fourier"}, "time_embedding_type 'fourier'"),
        ("unet/config.json", {"time_embedding_type": "learned"}, "time_embedding_type 'learned'"),
        ("unet/config.json", {"class_embed_type": "identity"}, "class_embed_type 'identity'"),
        ("unet/config.json", {"sample_size": [16]}, "sample_size is neither one side nor two"),
        ("unet/config.json", {"sample_size": None}, "sample_size None"),
        ("unet/config.json", {"_class_name": "UNet2DConditionModel"}, "is not served by this"),
        ("unet/config.json", {"guide": 1}, "the key 'guide' is unknown"),
        ("unet/config.json", {"act_fn": "nonsense"}, "nonsense"),
        ("model_index.json", {"vae": ["diffusers", "VQModel"]}, "vae"),
        ("model_index.json", {"_class_name": "LDMPipeline"}, "'LDMPipeline' is not served"),
        ("model_index.json", {"_class_name": "ScoreSdeVePipeline"}, "is not served"),
        ("model_index.json", {"id2label": {"a": "b"}}, "id2label"),
        ("model_index.json", {"id2label": {"1": "b"}}, "id2label has a class 1 of 0"),
        ("scheduler/scheduler_config.json", {"thresholding": True}, "thresholding True"),
        ("scheduler/scheduler_config.json", {"variance_type": "learned"}, "variance_type"),
        ("scheduler/scheduler_config.json", {"clip_sample_range": 0}, "clip_sample_range 0"),
    ],
)
def test_what_would_draw_something_else_is_refused_by_name(
    plain: Path, tmp_path: Path, file: str, values: dict[str, Any], named: str
) -> None:
    folder = with_values(copy(plain, tmp_path / "m"), file, **values)
    with pytest.raises(BundleError) as refused:
        load_bundle(folder)
    assert named in str(refused.value)
    assert str(refused.value).startswith(file)


def test_a_broken_file_is_named(plain: Path, tmp_path: Path) -> None:
    folder = copy(plain, tmp_path / "m")
    files = (
        "model_index.json",
        "scheduler/scheduler_config.json",
        "unet/config.json",
        "unet/diffusion_pytorch_model.safetensors",
    )
    assert list(wrong_refusals(folder, files, load_bundle)) == []


def test_a_broken_file_beside_the_index_is_named(plain: Path, tmp_path: Path) -> None:
    folder = beside_its_index(copy(plain, tmp_path / "m"))
    files = ("config.json", "scheduler_config.json", "diffusion_pytorch_model.safetensors")
    assert list(wrong_refusals(folder, files, load_bundle)) == []


@pytest.mark.parametrize("key", sorted(PIXEL_UNET))
def test_a_value_that_none_has_is_refused_in_one_line(
    labelled: Path, tmp_path: Path, key: str
) -> None:
    folder = copy(labelled, tmp_path / "m")
    written = (folder / "unet" / "config.json").read_text()
    for value in ({"a": 1}, -1, 10**9, "\0" * 300, [], [[1]]):
        (folder / "unet" / "config.json").write_text(written)
        with_values(folder, "unet/config.json", **{key: value})
        if PIXEL_UNET[key].fits(value):
            continue
        with pytest.raises(BundleError, match=r"^unet/config\.json: ") as refused:
            load_bundle(folder)
        assert "\n" not in str(refused.value)


def test_an_export_is_refused_by_name(plain: Path) -> None:
    with pytest.raises(BundleError, match="DDPMPipeline is not exported to ONNX"):
        export_bundle(plain, "fp32")
    with pytest.raises(BundleError, match=r"onnx/fp32"):
        load_bundle(plain, backend="onnx")


def test_prompts_are_of_the_model_s_kind_alone(plain: Path) -> None:
    """No bundle says of itself what its prompts are."""
    assert torch.equal(
        *(load_bundle(plain).encode_prompts(["a", "b"])[n].embeddings for n in (0, 1))
    )
