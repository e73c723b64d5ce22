"""Files and archives: what is unpacked, and what is refused by the name of its format."""

import shutil
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion.files import digest
from tests.workers.models.conftest import Command

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def test_pickles_and_other_variants_stay_behind(command: Command, mine: Path) -> None:
    half = {name: tensor.half() for name, tensor in load_file(mine / WEIGHTS).items()}
    save_file(half, mine / "unet" / "diffusion_pytorch_model.fp16.safetensors")
    (mine / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x02}")
    (mine / "tiny.ckpt").write_bytes(b"\x80\x02}")
    (mine / "LICENSE.md").write_text("free")
    (mine / "setup.py").write_text("import os")
    (mine / ".git").mkdir()
    (mine / ".git" / "config").write_text("x")
    said = command("add", mine, "--name", "full")
    assert said.code == 0, said.err
    assert "3 other weight files left out" in said.out
    assert "LICENSE.md" in said.out
    files = {p.name for p in (command.models / "full").rglob("*")}
    assert not {"setup.py", "tiny.ckpt", ".git", "diffusion_pytorch_model.bin"} & files
    assert "diffusion_pytorch_model.safetensors" in files
    said = command("add", mine, "--name", "half", "--variant", "fp16")
    assert said.code == 0, said.err
    assert "fp16 weights" in said.out
    files = {p.name for p in (command.models / "half" / "unet").iterdir()}
    assert files == {"config.json", "diffusion_pytorch_model.fp16.safetensors"}
    assert "no part has weights of the variant bf16" in (
        command("add", mine, "--name", "brain", "--variant", "bf16").refusal
    )


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("m.ckpt", b"\x80\x02}", "is a pickle"), ("m.pt", b"PK\x03\x04", "is a pickle"),
        ("m.bin", b"\x80\x02}", "is a pickle"), ("m.gguf", b"GGUF" + b"\0" * 30, "is GGUF"),
        ("m.safetensors", b"GGUF" + b"\0" * 30, "is GGUF"),
        ("m.safetensors", b"\x80\x02}" + b"\0" * 30, "is a pickle"),
        ("m.safetensors", b"PK\x03\x04" + b"\0" * 30, "zip"),
        ("m.safetensors", b"<!DOCTYPE html><html>", "a web page"),
        ("m.safetensors", b"", "neither a safetensors file nor a tar archive"),
        ("m.tar", b"nothing of the kind at all", "neither a safetensors file nor a tar archive"),
    ],
)  # fmt: skip
def test_other_formats_are_refused_by_name(
    command: Command, tmp_path: Path, file: str, content: bytes, said: str
) -> None:
    (tmp_path / file).write_bytes(content)
    assert said in command("add", tmp_path / file).refusal
    assert command.names() == []


@pytest.mark.parametrize(
    ("file", "said"),
    [
        (
            "diffusion_pytorch_model.bin",
            "unet has its weights in diffusion_pytorch_model.bin, a pi",
        ),
        ("unet.gguf", "unet has its weights in unet.gguf (GGUF) alone"),
        (None, "lacks unet"),
    ],
)
def test_a_part_without_safetensors_is_refused(
    command: Command, mine: Path, file: str | None, said: str
) -> None:
    (mine / WEIGHTS).unlink()
    if file is not None:
        (mine / "unet" / file).write_bytes(b"\x80\x02}")
    assert said in command("add", mine).refusal
    assert command.names() == []


def test_links_out_of_a_folder_are_refused(command: Command, mine: Path, tmp_path: Path) -> None:
    (mine / WEIGHTS).rename(tmp_path / "outside.safetensors")
    (mine / WEIGHTS).symlink_to(tmp_path / "outside.safetensors")
    assert "leaves the folder" in command("add", mine).refusal
    (mine / WEIGHTS).unlink()
    (mine / WEIGHTS).symlink_to("nowhere")
    assert "a link to nothing" in command("add", mine).refusal


def test_what_the_hubs_cache_links_to_is_copied(
    command: Command, tiny: Path, tmp_path: Path
) -> None:
    snapshot = tmp_path / "models--a--b" / "snapshots" / "0123"
    shutil.copytree(tiny, snapshot)
    blobs = tmp_path / "models--a--b" / "blobs"
    blobs.mkdir()
    (snapshot / WEIGHTS).rename(blobs / "f00d")
    (snapshot / WEIGHTS).symlink_to("../../../blobs/f00d")
    assert command("add", snapshot, "--name", "cached").code == 0
    assert not (command.models / "cached" / WEIGHTS).is_symlink()


def packed(folder: Path, archive: Path) -> str:
    """Pack a folder; return the archive's digest."""
    with tarfile.open(archive, "w:gz" if archive.suffix == ".gz" else "w") as tar:
        tar.add(folder, arcname=folder.name)
    return sha256(archive.read_bytes()).hexdigest()


@pytest.mark.parametrize("end", [".tar", ".tar.gz"])
def test_an_archive_is_unpacked(command: Command, tiny: Path, tmp_path: Path, end: str) -> None:
    archive = tmp_path / f"model{end}"
    expected = packed(tiny, archive)
    assert "has sha256" in command("add", archive, "--sha256", "0" * 64, "--name", "m").refusal
    said = command("add", archive, "--sha256", expected, "--name", "m")
    assert said.code == 0, said.err
    assert digest(command.models / "m") == digest(tiny)
    assert expected in said.out
    archive.unlink()
    again = command("add", archive, "--sha256", expected, "--name", "m")
    assert again.code == 0, "what is there already needs no archive"
    assert "it was installed already" in again.out
    assert command.names() == ["m"]


@pytest.mark.parametrize("name", ["../outside.json", "tiny/unet/model.bin", "tiny/run.py"])
def test_an_archive_with_what_no_model_may_hold_leaves_nothing(
    command: Command, tiny: Path, tmp_path: Path, name: str
) -> None:
    archive = tmp_path / "model.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(tiny, arcname="tiny")
        tar.addfile(tarfile.TarInfo(name))
    assert command("add", archive, "--name", "m").refusal
    assert command.names() == []
    assert not list(tmp_path.rglob("outside.json"))


def test_a_folder_without_an_index_names_its_files(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "webui"
    folder.mkdir()
    save_file({"a": torch.zeros(1)}, folder / "v1-5.safetensors")
    refusal = command("add", folder).refusal
    assert "no model_index.json" in refusal
    assert "v1-5.safetensors" in refusal
    assert "is not there" in command("add", tmp_path / "nowhere").refusal
