"""Directories as diffusers and the hub's users write them: variants, shards, absent parts."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import (
    StableDiffusionXLPipeline,
)
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from diffusion.bundle.bundle import load_bundle
from diffusion.bundle.contents import notes
from diffusion.codec import KLDecoder
from diffusion.errors import BundleError
from diffusion.parts.open import load_decoder, load_unet
from diffusion.parts.prompt import text_config, torch_encoder
from tests.layouts.unet_family import sd15, sdxl

KINDS: dict[str, Any] = {
    "unet": UNet2DConditionModel,
    "vae": AutoencoderKL,
    "text_encoder": CLIPTextModel,
    "text_encoder_2": CLIPTextModelWithProjection,
}
STEMS = {"unet": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model"}


@pytest.fixture(scope="module")
def sdxl_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sdxl(tmp_path_factory.mktemp("layouts") / "sdxl")


@pytest.fixture
def folder(sdxl_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sdxl_folder, tmp_path / "m"))


def resave(folder: Path, variant: str | None, shards: bool, parts: tuple[str, ...]) -> Path:
    """Write parts again with their library, as a variant or in shards."""
    for part in parts:
        network = KINDS[part].from_pretrained(folder / part)
        for path in (folder / part).glob("*model*.safetensors*"):
            path.unlink()
        size = "60KB" if shards else "5GB"
        network.save_pretrained(folder / part, variant=variant, max_shard_size=size)
    return folder


def weights(folder: Path) -> dict[str, Tensor]:
    """Return every weight as a worker on the CPU loads it."""
    decoder, _ = load_decoder(folder, torch.device("cpu"), torch.float32)
    assert isinstance(decoder, KLDecoder)
    networks = {"unet": load_unet(folder, torch.float32), "vae": decoder.vae}
    for part in ("text_encoder", "text_encoder_2"):
        config = text_config(folder / part)
        networks[part] = torch_encoder(folder / part, config, torch.float32)
    return {f"{p}.{n}": t for p, each in networks.items() for n, t in each.state_dict().items()}


@pytest.mark.parametrize("variant", [None, "fp16", "bf16", "non_ema"])
@pytest.mark.parametrize("shards", [False, True])
def test_a_variant_alone_is_read(
    sdxl_folder: Path, folder: Path, variant: str | None, shards: bool
) -> None:
    resave(folder, variant, shards, tuple(KINDS))
    assert len(list(folder.glob("*/*.index*.json"))) == (4 if shards else 0)
    given, wanted = weights(folder), weights(sdxl_folder)
    assert given.keys() == wanted.keys()
    assert all(torch.equal(given[name], wanted[name]) for name in wanted)
    said = [f"{part}: {variant} weights" for part in sorted(KINDS)] if variant else []
    assert sorted(notes(folder)) == said


def test_parts_may_be_of_several_variants(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    resave(folder, "fp16", True, ("unet",))
    resave(folder, "bf16", False, ("text_encoder",))
    with caplog.at_level(logging.INFO, "diffusion"):
        load_bundle(folder)
    assert "unet: fp16 weights" in caplog.messages
    assert "text_encoder: bf16 weights" in caplog.messages


def add_variant(folder: Path, word: str, part: str = "unet") -> None:
    """Write a part's weights a second time, all zero."""
    stem = STEMS.get(part, "model")
    path = next((folder / part).glob(f"{stem}*.safetensors"))
    zeros = {name: torch.zeros_like(tensor) for name, tensor in load_file(path).items()}
    save_file(zeros, folder / part / f"{stem}.{word}.safetensors", {"format": "pt"})


def test_of_several_variants_one_is_chosen_and_named(folder: Path) -> None:
    for word in ("non_ema", "ema", "bf16", "fp16"):
        add_variant(folder, word)
    unet = load_unet(folder, None).state_dict()["conv_in.weight"]
    assert unet.abs().sum() > 0
    assert notes(folder) == ("unet: plain weights; bf16, ema, fp16, non_ema ignored",)
    chosen = []
    for word in ("", ".fp16", ".bf16", ".ema"):
        (folder / "unet" / f"diffusion_pytorch_model{word}.safetensors").unlink()
        chosen += [notes(folder)[0].partition(" weights")[0]]
    assert chosen == ["unet: fp16", "unet: bf16", "unet: ema", "unet: non_ema"]


def test_shards_beside_a_whole_of_the_same_variant_are_refused(folder: Path) -> None:
    resave(folder, "fp16", True, ("unet",))
    name = "diffusion_pytorch_model.fp16.safetensors"
    (folder / "unet" / name).write_bytes(b"")
    with pytest.raises(BundleError, match=rf"unet holds both {name} and .*\.index\.fp16\.json"):
        load_bundle(folder)


def test_shards_without_their_index_are_named(folder: Path) -> None:
    resave(folder, "fp16", True, ("text_encoder",))
    (folder / "text_encoder" / "model.safetensors.index.fp16.json").unlink()
    with pytest.raises(
        BundleError, match=r"text_encoder/model\.fp16-00001-.* is a shard whose index"
    ):
        load_bundle(folder)


def test_pickles_alone_are_refused_by_name(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    path.rename(path.with_suffix(".bin"))
    with pytest.raises(BundleError, match=r"unet/diffusion_pytorch_model\.bin may hold a pickle"):
        load_bundle(folder)


def index_with(folder: Path, **parts: object) -> Path:
    path = folder / "model_index.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | parts))
    return folder


def test_null_components_are_absent(folder: Path) -> None:
    nothing = [None, None]
    index_with(
        folder, feature_extractor=nothing, image_encoder=nothing, safety_checker=nothing,
        controlnet=nothing, text_encoder_3=nothing, tokenizer_3=nothing, watermarker=nothing,
    )  # fmt: skip
    load_bundle(folder)
    with pytest.raises(BundleError, match=r"model_index\.json: vae \[None, None\] is not served"):
        load_bundle(index_with(folder, vae=nothing))


def test_null_components_that_are_there_are_refused(folder: Path) -> None:
    with pytest.raises(BundleError, match="text_encoder_2 is there, but not named"):
        load_bundle(index_with(folder, text_encoder_2=[None, None]))


def test_other_folders_are_named_and_ignored(folder: Path) -> None:
    shutil.copytree(folder / "unet", folder / "unet_ema")
    (folder / "safety_checker").mkdir()
    (folder / "assets").mkdir()
    assert notes(folder) == (
        "assets is ignored",
        "safety_checker is not run unless SFUMATO_SAFETY is set",
        "unet_ema is ignored: moving averages (EMA) are not drawn with",
    )


def test_a_scheduler_of_another_class_than_the_index_names_is_said(folder: Path) -> None:
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_class_name": "TCDScheduler"}))
    (said,) = notes(folder)
    assert said.startswith("the scheduler is '")
    assert said.endswith("as model_index.json says, not its file's 'TCDScheduler'")


def test_averages_among_the_weights_are_ignored_and_named(folder: Path) -> None:
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    averages = {f"model_ema.{n.replace('.', '')}": t.clone() for n, t in tensors.items()}
    save_file(tensors | averages, path, {"format": "pt"})
    load_bundle(folder)
    assert notes(folder) == ("unet: moving averages (EMA) are ignored",)


def test_averages_saved_as_a_network_are_drawn_with(folder: Path) -> None:
    """As ``EMAModel.save_pretrained`` writes them, with its own state in the configuration."""
    path = folder / "unet" / "config.json"
    state = {"decay": 0.9999, "inv_gamma": 1.0, "min_decay": 0.0, "optimization_step": 500,
             "power": 0.6667, "update_after_step": 0, "use_ema_warmup": False}  # fmt: skip
    path.write_text(json.dumps(json.loads(path.read_text()) | state))
    load_bundle(folder)


MEAN, STD = [-1.5, 0.3, 0.25, -0.7], [8.4, 5.9, 4.4, 5.5]  # about those of Playground v2.5


def with_statistics(folder: Path, **more: object) -> Path:
    path = folder / "vae" / "config.json"
    values = {"latents_mean": MEAN, "latents_std": STD, "scaling_factor": 0.5} | more
    path.write_text(json.dumps(json.loads(path.read_text()) | values))
    return folder


@torch.no_grad()
def test_the_mean_and_deviation_of_latents_are_undone_as_in_diffusers(folder: Path) -> None:
    bundle = load_bundle(with_statistics(folder))
    latents = torch.randn((2, 4, 16, 16), generator=torch.Generator().manual_seed(4))
    pipeline = StableDiffusionXLPipeline.from_pretrained(folder)
    vae = pipeline.vae
    mean, std = (torch.tensor(each).view(1, 4, 1, 1) for each in (MEAN, STD))
    images = vae.decode(latents * std / vae.config.scaling_factor + mean, return_dict=False)[0]
    expected = pipeline.image_processor.postprocess(images, output_type="np")
    given = torch.from_numpy(bundle.decode(latents)) / 255
    assert (given - torch.from_numpy(expected)).abs().max() <= 0.51 / 255


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"latents_std": None}, "of use together only"),
        ({"latents_mean": None}, "of use together only"),
        ({"latents_mean": [0.0]}, "not of 4 channels"),
        ({"latents_std": [1.0, 1.0, 1.0, 0.0]}, r"latents_std \[1\.0, 1\.0, 1\.0, 0\.0\]"),
        ({"latents_std": "wide"}, "latents_std 'wide'"),
        ({"shift_factor": 0.1}, "shift_factor beside latents_mean"),
    ],
)
def test_statistics_that_make_no_sense_are_refused(
    folder: Path, more: dict[str, object], said: str
) -> None:
    with pytest.raises(BundleError, match=rf"^vae/config\.json: .*{said}"):
        load_bundle(with_statistics(folder, **more))


def test_statistics_are_refused_where_diffusers_passes_over_them(tmp_path: Path) -> None:
    with pytest.raises(
        BundleError, match=r"vae/config\.json: latents_mean is served in .* XL alone"
    ):
        load_bundle(with_statistics(sd15(tmp_path / "sd15")))
