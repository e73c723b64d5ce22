"""A checkpoint in one file becomes a model directory that draws the same."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from diffusion.backbones.backbone import Condition, predict
from diffusion.bundle.bundle import Bundle, load_bundle
from diffusion.checkpoints.single_file import convert, read_checkpoint, read_networks
from diffusion.errors import BundleError
from diffusion.parts.open import load_unet
from diffusion.parts.prompt import text_config, torch_encoder
from tests.diffusion.checkpoints import models, original
from tests.diffusion.checkpoints.models import SD1, SD2, SDXL, TITLES, tiny, write_file


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    return {title: write_file(folder / f"{title[-3:]}.safetensors", title) for title in TITLES}


def as_directory(model: models.Model, like: Path, folder: Path) -> Path:
    """Write a model as diffusers does, with the tokenizers and schedule of another directory."""
    shutil.copytree(like, folder, ignore=shutil.ignore_patterns("unet", "vae", "text_encoder*"))
    model.unet.save_pretrained(folder / "unet")
    model.vae.save_pretrained(folder / "vae")
    for number, encoder in enumerate(model.encoders, 1):
        encoder.save_pretrained(
            folder / ("text_encoder" if number == 1 else f"text_encoder_{number}")
        )
    return folder


@torch.inference_mode()
def outputs(bundle: Bundle) -> list[Tensor]:
    """Return a prediction, a prompt's states and an image."""
    latents = torch.randn((1, 4, 8, 8), generator=torch.Generator().manual_seed(0))
    (prompt,) = bundle.encode_prompts(["A diagram of a café, 2 cats!"])
    noise = torch.tensor([500.0])
    prediction = predict(bundle.backbone, latents, noise, [Condition(prompt, (64, 64))])
    pooled = [] if prompt.pooled is None else [prompt.pooled]
    return [prediction, prompt.embeddings, *pooled, torch.from_numpy(bundle.decode(latents))]


@pytest.mark.parametrize(
    "title",
    [pytest.param(t, marks=[pytest.mark.full] * ("XL" in t)) for t in TITLES],
)
def test_it_draws_as_the_directory_it_came_from(
    files: dict[str, Path], tmp_path: Path, title: str
) -> None:
    checkpoint = convert(files[title], tmp_path / "converted")
    assert checkpoint.family.title == title
    directory = as_directory(tiny(title), tmp_path / "converted", tmp_path / "directory")
    expected = outputs(load_bundle(directory))
    for given, wanted in zip(outputs(load_bundle(tmp_path / "converted")), expected, strict=True):
        assert torch.equal(given, wanted)


def test_prompts_become_the_tokens_that_clip_knows(files: dict[str, Path], tmp_path: Path) -> None:
    convert(files[SDXL], tmp_path / "m")
    from diffusion.parts.tokenizer import load_tokenizer

    first, second = (
        load_tokenizer(tmp_path / "m" / f"tokenizer{n}", 77, 49408) for n in ("", "_2")
    )
    told = first(["A photo of a cat!", "hello world"], padding="max_length", max_length=77)
    # As in the examples of OpenAI's CLIP.
    assert told.input_ids[0][:8] == [49406, 320, 1125, 539, 320, 2368, 256, 49407]
    assert told.input_ids[1][:5] == [49406, 3306, 1002, 49407, 49407]
    padded = second(["hello world"], padding="max_length", max_length=77).input_ids[0]
    assert padded[:5] == [49406, 3306, 1002, 49407, 0]
    assert len(first.get_vocab()) == 49408


@pytest.mark.parametrize("title", TITLES)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_the_precision_is_kept(tmp_path: Path, title: str, dtype: torch.dtype) -> None:
    file = write_file(tmp_path / "m.safetensors", title, dtype)
    convert(file, tmp_path / "m")
    given: dict[str, Tensor] = {}
    for path in (tmp_path / "m").glob("*/*.safetensors"):
        given |= {f"{path.parent.name}.{n}": t for n, t in load_file(path).items()}
    assert {tensor.dtype for tensor in given.values()} == {dtype}
    wanted = tiny(title).unet.state_dict()["conv_in.weight"].to(dtype)
    assert torch.equal(given["unet.conv_in.weight"], wanted)


@pytest.mark.parametrize(
    "title",
    [pytest.param(t, marks=[pytest.mark.full] * ("XL" in t)) for t in TITLES],
)
def test_real_architectures_are_known_by_their_header(tmp_path: Path, title: str) -> None:
    real = models.real(title)
    file = original.write_holes(tmp_path / "m.safetensors", real.tensors(), torch.float16)
    assert file.stat().st_size > 2e9
    assert file.stat().st_blocks * 512 < 2**20
    checkpoint = read_checkpoint(file)
    assert checkpoint.family.title == title
    found = {network.part: network for network in read_networks(checkpoint)}
    wanted = {"unet": real.unet, "vae": real.vae, "text_encoder": real.encoders[0]}
    if title == SDXL:
        wanted["text_encoder_2"] = real.encoders[1]
    assert found.keys() == wanted.keys()
    for part, network in wanted.items():
        shapes = {n.removeprefix("text_model."): t.shape for n, t in network.state_dict().items()}
        given = {n.removeprefix("text_model."): t.shape for n, t in found[part].tensors.items()}
        assert given == shapes
    config = found["unet"].config
    for key in (
        "attention_head_dim", "block_out_channels", "cross_attention_dim", "layers_per_block",
        "transformer_layers_per_block", "use_linear_projection", "addition_time_embed_dim",
        "projection_class_embeddings_input_dim",
    ):  # fmt: skip
        assert _plain(config.get(key, real.unet.config[key])) == _plain(real.unet.config[key]), key


def _plain(value: Any) -> Any:
    value = list(value) if isinstance(value, (list, tuple)) else value
    return value[0] if isinstance(value, list) and len(set(value)) == 1 else value


def test_a_distilled_unet_keeps_the_layers_that_are_left(tmp_path: Path) -> None:
    """As Segmind's SSD-1B has them: unequal depths, and a middle of one layer."""
    small = tiny(SDXL)
    torch.manual_seed(5)
    unet = models.changed(
        small.unet,
        layers_per_block=2,
        transformer_layers_per_block=[1, [1, 2]],
        reverse_transformer_layers_per_block=[[2, 2, 3], 1],
        mid_block_type="UNetMidBlock2D",
    )
    model = models.Model(unet, small.vae, small.encoders)
    convert(original.write(tmp_path / "m.safetensors", model.tensors()), tmp_path / "m")
    given, wanted = load_unet(tmp_path / "m", None).state_dict(), unet.state_dict()
    assert given.keys() == wanted.keys()
    assert all(torch.equal(given[name], wanted[name]) for name in wanted)


def scheduler(folder: Path) -> dict[str, Any]:
    path = folder / "scheduler" / "scheduler_config.json"
    return dict(json.loads(path.read_text()))


def test_v_prediction_and_zero_snr_are_read_from_their_keys(tmp_path: Path) -> None:
    tensors = tiny(SDXL).tensors()
    marked = original.write(tmp_path / "v.safetensors", tensors | {"v_pred": torch.zeros(0)})
    checkpoint = convert(marked, tmp_path / "v")
    assert scheduler(tmp_path / "v")["prediction_type"] == "v_prediction"
    assert "it predicts v, as its key v_pred says" in checkpoint.notes
    both = {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    convert(original.write(tmp_path / "z.safetensors", tensors | both), tmp_path / "z")
    config = scheduler(tmp_path / "z")
    assert config["prediction_type"] == "v_prediction"
    assert config["rescale_betas_zero_snr"] is True
    assert config["timestep_spacing"] == "trailing"
    assert load_bundle(tmp_path / "z").info.prediction_type == "v_prediction"


def test_kin_of_edm_are_read_with_their_numbers(tmp_path: Path) -> None:
    tensors = tiny(SDXL).tensors()
    mean, std = torch.tensor([-1.5, 0.25, 0.5, -0.75]), torch.tensor([8.5, 6.0, 4.5, 5.5])
    statistics = {"edm_mean": mean.view(1, 4, 1, 1), "edm_std": std.view(1, 4, 1, 1)}
    file = original.write(tmp_path / "p.safetensors", tensors | statistics)
    assert convert(file, tmp_path / "p").notes[0] == "Playground v2.5"
    vae = json.loads((tmp_path / "p" / "vae" / "config.json").read_text())
    assert (vae["latents_mean"], vae["latents_std"]) == (mean.tolist(), std.tolist())
    assert vae["scaling_factor"] == 0.5
    assert scheduler(tmp_path / "p")["_class_name"] == "EDMDPMSolverMultistepScheduler"
    bundle = load_bundle(tmp_path / "p")
    c_skip = bundle.noise_schedule.precondition(np.ones(1)).c_skip
    assert c_skip[0] == pytest.approx(0.25 / (1 + 0.25))
    levels = {"edm_vpred.sigma_max": torch.tensor(100.0), "edm_vpred.sigma_min": torch.tensor(0.5)}
    file = original.write(tmp_path / "c.safetensors", tensors | levels)
    assert convert(file, tmp_path / "c").notes[0] == "CosXL"
    config = scheduler(tmp_path / "c")
    assert (config["sigma_max"], config["sigma_min"]) == (100.0, 0.5)
    assert config["prediction_type"] == "v_prediction"
    with pytest.raises(BundleError, match="CosXL is of EDM, which knows no zero terminal SNR"):
        read_checkpoint(file, zero_snr=True)


def test_zero_snr_without_v_is_refused(tmp_path: Path) -> None:
    tensors = tiny(SDXL).tensors() | {"ztsnr": torch.zeros(0)}
    file = original.write(tmp_path / "z.safetensors", tensors)
    with pytest.raises(BundleError, match=r"^z\.safetensors: zero terminal SNR, as its key ztsnr"):
        convert(file, tmp_path / "z")
    convert(file, tmp_path / "z", prediction_type="v_prediction")
    assert scheduler(tmp_path / "z")["rescale_betas_zero_snr"] is True


def test_what_a_file_does_not_say_is_assumed_and_said(files: dict[str, Path]) -> None:
    (said,) = (n for n in read_checkpoint(files[SD2]).notes if "assumed" in n)
    assert "predict v" in said
    assert "--prediction epsilon" in said
    assert read_checkpoint(files[SD2]).prediction.type == "v_prediction"
    other = read_checkpoint(files[SD2], prediction_type="epsilon")
    assert other.prediction.type == "epsilon"
    assert "it predicts ε, as asked" in other.notes
    (said,) = (n for n in read_checkpoint(files[SD1]).notes if "assumed" in n)
    assert "predict ε" in said
    with pytest.raises(BundleError, match="--prediction sideways is unknown"):
        read_checkpoint(files[SD1], prediction_type="sideways")


def test_the_resolution_follows_what_stable_diffusion_2_predicts(
    files: dict[str, Path], tmp_path: Path
) -> None:
    for kind, side in (("epsilon", 64), ("v_prediction", 96)):
        convert(files[SD2], tmp_path / kind, prediction_type=kind)
        config = json.loads((tmp_path / kind / "unet" / "config.json").read_text())
        assert config["sample_size"] == side


def test_a_model_spec_says_what_is_predicted(tmp_path: Path) -> None:
    tensors = tiny(SD2).tensors()
    spec = {"modelspec.prediction_type": "epsilon"}
    found = read_checkpoint(original.write(tmp_path / "m.safetensors", tensors, spec))
    assert found.prediction.type == "epsilon"
    assert "it predicts ε, as its modelspec.prediction_type says" in found.notes


def test_plain_weights_are_taken_before_averages(tmp_path: Path) -> None:
    model = tiny(SD1)
    own = original.unet(model.unet)
    averages = {n: t + 1 for n, t in original.averages(own).items()}
    both = model.tensors() | averages | {"model_ema.decay": torch.ones(())}
    file = original.write(tmp_path / "m.safetensors", both)
    checkpoint = convert(file, tmp_path / "plain")
    assert "its moving averages (EMA) are ignored; --ema takes them" in checkpoint.notes
    wanted = model.unet.state_dict()
    given = load_file(tmp_path / "plain" / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(given[name], wanted[name]) for name in wanted)
    checkpoint = convert(file, tmp_path / "ema", ema=True)
    assert "its moving averages (EMA) are taken, as asked" in checkpoint.notes
    given = load_file(tmp_path / "ema" / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(given[name], wanted[name] + 1) for name in wanted)


@pytest.mark.parametrize("title", TITLES)
def test_averages_alone_are_taken_and_it_is_said(tmp_path: Path, title: str) -> None:
    model = tiny(title)
    own = original.unet(model.unet)
    rest = {n: t for n, t in model.tensors().items() if n not in own}
    file = original.write(tmp_path / "m.safetensors", rest | original.averages(own))
    checkpoint = convert(file, tmp_path / "m")
    assert "its moving averages (EMA) are taken, as it holds no other weights" in checkpoint.notes
    given = load_file(tmp_path / "m" / "unet" / "diffusion_pytorch_model.safetensors")
    wanted = model.unet.state_dict()
    assert given.keys() == wanted.keys()
    assert all(torch.equal(given[name], wanted[name]) for name in wanted)


def test_averages_that_are_not_there_cannot_be_asked_for(files: dict[str, Path]) -> None:
    with pytest.raises(BundleError, match=r"holds no moving averages \(EMA\)"):
        read_checkpoint(files[SD1], ema=True)


def test_other_tensors_are_ignored_and_named(tmp_path: Path) -> None:
    more = {"betas": torch.zeros(1000), "embedding_manager.initial": torch.zeros(1)}
    file = original.write(tmp_path / "m.safetensors", tiny(SD1).tensors() | more)
    notes = convert(file, tmp_path / "m").notes
    assert "1 tensors are ignored (embedding_manager.initial)" in notes


def test_names_of_clip_without_their_module_are_read(tmp_path: Path) -> None:
    tensors = {n.replace("text_model.", ""): t for n, t in tiny(SD1).tensors().items()}
    folder = tmp_path / "m"
    convert(original.write(tmp_path / "m.safetensors", tensors), folder)
    torch_encoder(folder / "text_encoder", text_config(folder / "text_encoder"), None)


def test_stable_diffusion_2_may_lack_the_layer_that_it_does_not_use(tmp_path: Path) -> None:
    tensors = {n: t for n, t in tiny(SD2).tensors().items() if ".resblocks.23." not in n}
    convert(original.write(tmp_path / "m.safetensors", tensors), tmp_path / "m")
    config = json.loads((tmp_path / "m" / "text_encoder" / "config.json").read_text())
    assert config["num_hidden_layers"] == 23


def test_a_folder_with_something_in_it_is_left_alone(
    files: dict[str, Path], tmp_path: Path
) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(BundleError, match="is not empty"):
        convert(files[SD1], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["note"]


def test_a_folder_that_was_begun_has_no_index(
    files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full once the tokenizer is written."""

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("diffusion.checkpoints.single_file.write_tokenizer", full)
    with pytest.raises(BundleError, match="No space left on device"):
        convert(files[SD1], tmp_path / "m")
    with pytest.raises(BundleError, match="model_index"):
        load_bundle(tmp_path / "m")
