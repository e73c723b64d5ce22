"""Every family that is served is added whole, and drawn with."""

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from diffusion import files
from diffusion.files import digest
from jobs.host.models import RECORD
from tests.layouts.flows import flux, z_image
from tests.layouts.pixels import ddim, ddpm
from tests.layouts.transformers import pixart, sd3
from tests.workers.models.conftest import Command


def beside(folder: Path) -> Path:
    """Write a model of one network as older ones have it: beside the index."""
    ddpm(folder)
    for part in ("unet", "scheduler"):
        for path in (folder / part).iterdir():
            path.rename(folder / path.name)
        (folder / part).rmdir()
    return folder


FAMILIES: dict[str, tuple[Callable[[Path], Path], str, str]] = {
    "pixart": (pixart, "PixArt-Σ", "epsilon"),
    "sd3": (sd3, "Stable Diffusion 3", "flow velocity"),
    "sd3-without-t5": (partial(sd3, t5=False), "Stable Diffusion 3", "flow velocity"),
    "flux": (flux, "FLUX, with guidance as an input", "flow velocity"),
    "z-image": (z_image, "Z-Image", "flow velocity"),
    "ddpm": (ddpm, "without a prompt", "epsilon"),
    "ddim": (ddim, "without a prompt", "epsilon"),
    "classes": (partial(ddpm, num_class_embeds=4), "of classes", "epsilon"),
    "beside": (beside, "without a prompt", "epsilon"),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_it_is_added_whole(command: Command, tmp_path: Path, name: str) -> None:
    make, kind, prediction = FAMILIES[name]
    source = make(tmp_path / "source")
    said = command("add", source, "--name", name)
    assert said.code == 0, said.err
    assert f"{kind} (" in said.out
    assert f"prediction  {prediction}" in said.out
    assert "taken by the sampler" in said.out
    assert "torch on cpu" in said.out
    assert " 0 million" not in said.out
    folder = command.models / name
    assert digest(folder) == digest(source), "its record counts as one of its files"
    named = {p.relative_to(source).as_posix() for p in source.rglob("*") if p.is_file()}
    kept = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert named - kept <= {".gitattributes"}
    assert command("check", name, "--files-only").code == 0


def test_both_sides_call_the_record_the_same() -> None:
    assert files.RECORD == RECORD


def test_a_part_that_is_missing_is_named(command: Command, tmp_path: Path) -> None:
    source = flux(tmp_path / "source")
    shutil.rmtree(source / "text_encoder_2")
    assert "lacks text_encoder_2 (T5EncoderModel)" in command("add", source).refusal
    index = json.loads((source / "model_index.json").read_text())
    unknown = index | {"_class_name": "FluxFillPipeline", "text_encoder_2": [None, None]}
    (source / "model_index.json").write_text(json.dumps(unknown))
    assert "FluxFillPipeline" in command("add", source).refusal
    assert command.names() == []
