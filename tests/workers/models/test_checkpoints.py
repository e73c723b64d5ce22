"""Ten checkpoints as people have them: what `models add`, `models check` and a worker say of each.

Where the three refuse, they refuse for the same reason; the model was then added with --no-check,
if that can be, so that `check` and the worker meet it.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.diffusion.checkpoints import models, original
from tests.layouts.unet_family import lcm, playground, sd15, sdxl, zero_snr
from tests.workers.models.conftest import Command
from workers import check

SERVED = "torch on cpu"
UNET = "unet/diffusion_pytorch_model.safetensors"
SCHEDULER = "scheduler/scheduler_config.json"


@dataclass(frozen=True)
class Checkpoint:
    """One of them, and what is said of it."""

    name: str
    make: Callable[[Path], Path]
    add: tuple[str, ...]  # what `add` says
    worker: str | None = SERVED  # what `check` and the worker say; None: that is another row's
    words: tuple[str, ...] = ()  # of the command


def edited(path: Path, **changes: Any) -> None:
    """Change a JSON file; None removes a key."""
    value = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in value.items() if v is not None}))


def half_only(folder: Path) -> Path:
    sd15(folder)
    for path in folder.rglob("*.safetensors"):
        half = {name: tensor.half() for name, tensor in load_file(path).items()}
        save_file(half, path.with_name(path.name.replace(".safe", ".fp16.safe")), {"format": "pt"})
        path.unlink()
    return folder


def sharded(folder: Path) -> Path:
    sdxl(folder)
    tensors = load_file(folder / UNET)
    names = sorted(tensors)
    stem = "diffusion_pytorch_model"
    shards = {f"{stem}-0000{n + 1}-of-00003.safetensors": names[n::3] for n in range(3)}
    for file, own in shards.items():
        save_file({name: tensors[name] for name in own}, folder / "unet" / file)
    index = {"metadata": {}, "weight_map": {n: file for file, own in shards.items() for n in own}}
    (folder / "unet" / f"{stem}.safetensors.index.json").write_text(json.dumps(index))
    (folder / UNET).unlink()
    return folder


def single_file(folder: Path) -> Path:
    return models.write_file(folder.with_suffix(".safetensors"), models.SD1, torch.float16)


def with_averages(folder: Path) -> Path:
    tensors = models.tiny(models.SD1).tensors()
    unet = {n: t for n, t in tensors.items() if n.startswith("model.diffusion_model.")}
    again = original.averages({name: tensor * 1.01 for name, tensor in unet.items()})
    return original.write(folder.with_suffix(".safetensors"), tensors | again)


def without_vae(folder: Path) -> Path:
    sd15(folder)
    shutil.move(folder / "vae", folder.with_name("another-vae"))
    edited(folder / "model_index.json", vae=[None, None])
    return folder


def inpainting(folder: Path) -> Path:
    sd15(folder)
    tensors = load_file(folder / UNET)
    tensors["conv_in.weight"] = torch.zeros(32, 9, 3, 3)
    save_file(tensors, folder / UNET)
    edited(folder / "unet/config.json", in_channels=9)
    edited(folder / "model_index.json", _class_name="StableDiffusionInpaintPipeline")
    return folder


def silent(folder: Path) -> Path:
    sd15(folder)
    edited(folder / SCHEDULER, prediction_type=None)
    return folder


CHECKPOINTS = (
    Checkpoint("fp16-only", half_only, ("stored as F16", "fp16 weights", SERVED)),
    Checkpoint("sharded", sharded, ("Stable Diffusion XL", "unet in 3 files", SERVED)),
    Checkpoint(
        "single-file", single_file,
        ("Stable Diffusion", "stored as F16", "assumed to predict ε", "its sha256", SERVED),
    ),
    Checkpoint("ema-keys", with_averages, ("its moving averages (EMA) are ignored", SERVED)),
    Checkpoint("ema-asked", with_averages, ("averages (EMA) are taken, as asked", SERVED),
               worker=None, words=("--ema",)),
    Checkpoint("lcm", lcm, ("with guidance as an input", "taken by the sampler lcm", SERVED)),
    Checkpoint(
        "zero-snr", zero_snr, ("prediction  v_prediction", "rescale_betas_zero_snr True", SERVED),
    ),
    Checkpoint(
        "edm", playground, ("epsilon, EDM preconditioning", "sampler dpmpp_2m", SERVED),
    ),
    Checkpoint("no-vae", without_vae, ("lacks vae: give one with --vae",), worker=None),
    Checkpoint("no-vae-given-one", without_vae, ("another-vae", SERVED), worker=None,
               words=("--vae", "another-vae")),
    Checkpoint("inpainting", inpainting, ("inpainting",), worker="inpainting"),
    Checkpoint(
        "v-unsaid", silent,
        ("epsilon (assumed: scheduler_config.json does not say; if images", SERVED),
    ),
    Checkpoint(
        "v-unsaid-but-known", silent,
        ("prediction  v_prediction", "prediction_type set to v_prediction", SERVED),
        worker=None, words=("--prediction", "v_prediction"),
    ),
)  # fmt: skip


SHORT = ("lcm", "no-vae", "inpainting")


@pytest.mark.parametrize(
    "each",
    [
        pytest.param(each, marks=[pytest.mark.full] * (each.name not in SHORT), id=each.name)
        for each in CHECKPOINTS
    ],
)
def test_the_three_say_the_same(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, each: Checkpoint
) -> None:
    monkeypatch.chdir(tmp_path)
    source = each.make(tmp_path / "source")
    words = ("add", source, "--name", each.name, *each.words)
    said = command(*words)
    served = SERVED in each.add
    assert said.code == (0 if served else 1), said.err
    spoken = said.out if served else said.refusal
    for text in each.add:
        assert text in spoken
    assert command.names() == ([each.name] if served else [])
    if each.worker is None:
        return
    if not served:
        assert command(*words, "--no-check").code == 0
    checked = command("check", each.name)
    assert each.worker in (checked.out if served else checked.refusal)
    monkeypatch.setenv("SFUMATO_MODEL", each.name)
    command.captured.readouterr()
    assert check.main([]) == (0 if served else 1)
    out, err = command.captured.readouterr()
    assert each.worker in (out if served else err)
