"""Models of this machine: added, said, checked, replaced and removed."""

import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file

from diffusion.files import digest
from tests.diffusion.checkpoints import models, original
from tests.diffusion.lora import loras
from tests.layouts import sd15
from tests.workers.models.conftest import Command
from workers.models.directory import staging as directory
from workers.models.directory.record import read_record

WEIGHTS = "unet/diffusion_pytorch_model.safetensors"


def test_a_folder_is_added_as_it_is_and_drawn_with(command: Command, tiny: Path) -> None:
    said = command("add", tiny, "--name", "mine")
    assert said.code == 0, said.err
    assert command.names() == ["mine"]
    folder = command.models / "mine"
    assert digest(folder) == digest(tiny)
    for words in ("Stable Diffusion", "UNet2DConditionModel", "epsilon", "DDIMScheduler",
                  "not followed: DDIMScheduler", "for the weights alone", "no file states one",
                  digest(tiny), str(tiny), "mine: torch on cpu"):  # fmt: skip
        assert words in said.out
    record = read_record(folder)
    content = (tiny / WEIGHTS).read_bytes()
    assert record.files[WEIGHTS].sha256 == sha256(content).hexdigest()
    assert set(record.files) == {p.relative_to(folder).as_posix() for p in folder.rglob("*")
                                 if p.is_file()} - {"added.json"}  # fmt: skip
    assert json.loads((folder / "sfumato.json").read_text())["name"] == "mine"
    assert "mine: torch on cpu" in command("check", "mine").out
    listed = command("installed").out
    assert "mine" in listed
    assert str(tiny) in listed
    assert "added" in command("show", "mine").out


def test_the_name_is_that_of_sfumato_json(command: Command, mine: Path) -> None:
    assert command("add", mine).code == 0
    assert command.names() == ["tiny"]
    (mine / "sfumato.json").unlink()
    assert command("add", mine).code == 0
    assert command.names() == ["mine", "tiny"]


@pytest.mark.parametrize("harm", ["changed", "shorter", "gone", "more", "config"])
def test_check_finds_what_has_changed(command: Command, tiny: Path, harm: str) -> None:
    assert command("add", tiny, "--no-check").code == 0
    weights = command.models / "tiny" / WEIGHTS
    if harm == "changed":
        tensors = load_file(weights)
        first = next(iter(sorted(tensors)))
        save_file(tensors | {first: tensors[first] + 1}, weights)
    elif harm == "shorter":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif harm == "gone":
        weights.unlink()
    elif harm == "more":
        shutil.copyfile(weights, weights.with_name("another.safetensors"))
    else:
        config = command.models / "tiny" / "unet" / "config.json"
        config.write_text(config.read_text() + " ")
    refusal = command("check", "tiny").refusal
    assert "is not what was added" in refusal
    assert "unet/" in refusal


def test_the_defaults_are_the_operators_to_change(command: Command, tiny: Path) -> None:
    assert command("add", tiny, "--no-check").code == 0
    extra = command.models / "tiny" / "sfumato.json"
    extra.write_text(json.dumps(json.loads(extra.read_text()) | {"default_steps": 9}))
    said = command("check", "tiny", "--files-only")
    assert said.code == 0
    assert "sfumato.json has been edited" in said.out


def test_a_folder_is_compared_with_a_digest(command: Command, mine: Path) -> None:
    """As an init container does, whose model nobody added."""
    expected = digest(mine)
    assert expected in command("show", mine).out
    assert command("check", mine, "--files-only", "--sha256", expected).code == 0
    config = mine / "unet" / "config.json"
    config.write_text(config.read_text() + " ")
    assert "has sha256" in command("check", mine, "--files-only", "--sha256", expected).refusal
    assert "has sha256" in command("add", mine, "--sha256", expected).refusal
    assert command.names() == []


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("../up", "cannot be a model's name"), ("a/b", "cannot be a model's name"),
        (".hidden", "cannot be a model's name"), ("", "cannot be a model's name"),
        ("x" * 65, "cannot be a model's name"), ("a\nb", "cannot be a model's name"),
        ("emoji", "the included model"), ("Emoji", "the included model"),
        ("TINY", "by case alone"), ("tiny", "--replace replaces it"),
        ("taken", "no model that was added"), ("linked", "no model that was added"),
    ],
)  # fmt: skip
def test_no_other_name_is_taken(command: Command, tiny: Path, name: str, said: str) -> None:
    assert command("add", tiny, "--no-check").code == 0
    (command.models / "taken").mkdir()
    (command.models / "linked").symlink_to(tiny)
    before = command.names()
    refused = command("add", tiny, f"--name={name}", *["--replace"] * (name != "tiny"))
    if name == "":  # as if none were given
        assert "tiny is installed" in command("add", tiny, "--name=").refusal
    else:
        assert said in refused.refusal
    assert command.names() == before


@pytest.mark.parametrize("verb", ["show", "check", "remove"])
@pytest.mark.parametrize("name", ["nothing", "linked", "..", "../outside"])
def test_nothing_else_is_shown_checked_or_removed(
    command: Command, tiny: Path, verb: str, name: str
) -> None:
    assert command("add", tiny, "--no-check").code == 0
    (command.models / "linked").symlink_to(tiny)
    outside = command.models.parent / "outside"
    outside.mkdir()
    assert command(verb, name).code == 1
    assert outside.is_dir()
    assert (tiny / "model_index.json").exists()


def test_a_model_is_replaced_when_asked(command: Command, mine: Path) -> None:
    assert command("add", mine, "--no-check").code == 0
    first = digest(command.models / "tiny")
    tensors = load_file(mine / WEIGHTS)
    save_file({name: tensor * 2 for name, tensor in tensors.items()}, mine / WEIGHTS)
    assert "--replace" in command("add", mine, "--no-check").refusal
    assert digest(command.models / "tiny") == first
    assert command("add", mine, "--no-check", "--replace").code == 0
    assert digest(command.models / "tiny") == digest(mine) != first
    assert command.names() == ["tiny"]


def test_a_model_is_removed(command: Command, tiny: Path) -> None:
    assert command("add", tiny, "--no-check").code == 0
    assert command("remove", "tiny").code == 0
    assert command.names() == []
    assert "no model 'tiny' is installed" in command("remove", "tiny").refusal


@pytest.mark.parametrize("moment", ["before", "between", "after"])
def test_a_replacement_that_was_killed_leaves_the_model(
    command: Command, tiny: Path, moment: str
) -> None:
    assert command("add", tiny, "--no-check").code == 0
    staging = directory.Staging(command.models, "tiny")
    staging.begin({"name": "tiny", "source": "another"})
    shutil.copytree(tiny, staging.made)
    if moment != "before":
        staging.final.rename(staging.folder / directory.FORMER)
    if moment == "after":
        shutil.copytree(staging.folder / directory.FORMER, staging.final)
    listed = command("installed").out
    assert str(tiny) in listed
    assert command("check", "tiny", "--files-only").code == 0
    assert command("add", tiny, "--no-check", "--replace").code == 0
    assert command.names() == ["tiny"]


def test_two_do_not_add_the_same_at_once(command: Command, tiny: Path) -> None:
    with directory.staged(command.models, "tiny"):
        assert "another process" in command("add", tiny, "--no-check").refusal
        assert command("add", tiny, "--no-check", "--name", "other").code == 0
    assert command("add", tiny, "--no-check").code == 0
    assert command.names() == ["other", "tiny"]


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


def test_what_a_worker_refuses_is_not_installed(command: Command, mine: Path) -> None:
    config = mine / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"in_channels": 9}))
    said = command("add", mine)
    assert "unet/config.json" in said.refusal
    assert command.names() == []
    assert command("add", mine, "--no-check").code == 0
    assert "for inpainting" in command("show", "tiny").out
    assert "unet/config.json" in command("check", "tiny").refusal


def test_another_vae_takes_its_place(command: Command, mine: Path, tiny: Path) -> None:
    shutil.rmtree(mine / "vae")
    refusal = command("add", mine, "--name", "blind").refusal
    assert "lacks vae" in refusal
    assert "--vae" in refusal
    for given in (tiny, tiny / "vae"):
        said = command("add", mine, "--name", "seeing", "--vae", given, "--replace")
        assert said.code == 0, said.err
        assert f"vae         {given}" in said.out
    assert (
        "holds no VAE" in command("add", mine, "--name", "b", "--vae", tiny / "unet" / "..").err
        or command("add", mine, "--name", "c", "--vae", tiny / "tokenizer").refusal
    )
    assert "is not there" in command("add", mine, "--name", "b", "--vae", "nowhere").refusal


def test_loras_are_fused_and_recorded(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = sd15(tmp_path / "base")
    unet = UNet2DConditionModel.from_pretrained(source / "unet")
    pairs = loras.random_pairs(unet, 1)
    style = loras.write(tmp_path / "style.safetensors", loras.kohya("unet", pairs))
    said = command("add", source, "--lora", f"{style}:0.5", "--name", "styled")
    assert said.code == 0, said.err
    layers = f"style.safetensors:0.5 in {len(pairs)} layers of unet"
    assert f"{layers} (sha256 {sha256(style.read_bytes()).hexdigest()})" in said.out
    fused = load_file(command.models / "styled" / WEIGHTS)
    name, pair = next(iter(pairs.items()))
    own = unet.state_dict()[f"{name}.weight"]
    assert (fused[f"{name}.weight"] - own - 0.5 * pair.change(own)).abs().max() < 1e-6
    assert digest(command.models / "styled") != digest(source)
    assert load_file(source / WEIGHTS)[f"{name}.weight"].equal(own), "the source has changed"
    assert command("check", "styled", "--files-only").code == 0
    for given, reason in (
        (f"{style}:strong", "is not FILE:WEIGHT"), (f"{style}:nan", "is not FILE:WEIGHT"),
        (":1", "is not FILE:WEIGHT"),
    ):  # fmt: skip
        refused = command("add", source, "--lora", given, "--name", "other")
        assert refused.code == 2
        assert reason in refused.err
    assert "is missing" in command("add", source, "--lora", "none.safetensors:1").refusal
    dora = loras.write(tmp_path / "d.safetensors", {"lora_unet_x.dora_scale": torch.ones(1)})
    assert "d.safetensors is DoRA" in command("add", source, "--lora", dora).refusal
    wrong = {"unet.x.lora_A.weight": torch.ones(2, 4), "unet.x.lora_B.weight": torch.ones(4, 2)}
    other = loras.write(tmp_path / "o.safetensors", wrong)
    refusal = command("add", source, "--lora", other, "--name", "other").refusal
    assert "o.safetensors is not for this unet" in refusal
    assert command.names() == ["styled"]


def test_a_vae_of_a_file_is_converted(command: Command, tmp_path: Path) -> None:
    file = models.write_file(tmp_path / "whole.safetensors", models.SD1)
    assert command("add", file, "--name", "whole", "--no-check").code == 0
    vae = models.tiny(models.SD1).vae
    other = {n: t * 1.01 for n, t in original.vae(vae, "").items()}
    given = original.write(tmp_path / "vae.safetensors", other)
    for name, source in (("folder", command.models / "whole"), ("file", file)):
        said = command("add", source, "--name", name, "--vae", given, "--no-check")
        assert said.code == 0, said.err
    found = [load_file(command.models / name / "vae" / WEIGHTS.partition("/")[2])
             for name in ("whole", "folder", "file")]  # fmt: skip
    key = "decoder.conv_in.weight"
    assert torch.equal(found[1][key], found[2][key])
    assert torch.equal(found[1][key], found[0][key] * 1.01)
    sdxl_vae = tmp_path / "xl"
    shutil.copytree(command.models / "whole" / "vae", sdxl_vae)
    config = json.loads((sdxl_vae / "config.json").read_text()) | {"scaling_factor": 0.13025}
    (sdxl_vae / "config.json").write_text(json.dumps(config))
    refused = command("add", command.models / "whole", "--name", "x", "--vae", sdxl_vae)
    assert "another family's" in refused.refusal


def test_the_same_is_not_added_twice_and_another_is_not_passed_off(
    command: Command, mine: Path
) -> None:
    config = mine / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text().replace('"prediction_type": "epsilon"', '"rho": 7'))
    pin = digest(mine)
    assert command("add", mine, "--no-check", "--sha256", pin).code == 0
    assert "already" in command("add", mine, "--no-check", "--sha256", pin).out
    words = ("add", mine, "--no-check", "--prediction", "v_prediction")
    assert "--replace" in command(*words, "--sha256", pin).refusal
    said = command(*words, "--replace")
    assert said.code == 0, said.err
    assert "options     prediction v_prediction" in said.out
    assert "prediction  v_prediction" in command("show", "tiny").out


def test_a_damaged_record_does_not_hide_the_others(command: Command, tiny: Path) -> None:
    for name in ("one", "two"):
        assert command("add", tiny, "--name", name, "--no-check").code == 0
    (command.models / "one" / "added.json").write_text("[]")
    listed = command("installed").out.splitlines()
    assert "damaged: one/added.json" in listed[1]
    assert str(tiny) in listed[2]
    assert "one/added.json" in command("check", "one").refusal


def test_a_full_disk_leaves_nothing(tiny: Path, tmp_path: Path) -> None:
    """The limit on a file's size stands for the disk's: writing fails in the middle."""
    folder = tmp_path / "models"
    most = (tiny / WEIGHTS).stat().st_size // 2
    ended = subprocess.run(
        [sys.executable, "-m", "workers.models", "add", str(tiny), "--no-check"],
        env=os.environ | {"SFUMATO_MODELS": str(folder)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (most, most)),
        capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert ended.returncode == 1, ended.stderr
    (line,) = ended.stderr.splitlines()
    assert "is full" in line
    assert list(folder.iterdir()) == []


def test_what_does_not_fit_is_not_begun(
    command: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tiny)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    assert "1 kB free" in command("add", tiny).refusal
    assert command.names() == []


def test_a_model_larger_than_memory_is_installed_untried(
    command: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from workers.models import check

    monkeypatch.setattr(check, "free_memory", lambda: 10**6)
    said = command("add", tiny)
    assert said.code == 0
    assert "not tried: trying it needs about" in said.out


def test_a_model_that_runs_out_of_memory_is_installed_untried(
    command: Command, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def exhausted(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("workers.check.load", exhausted)
    said = command("add", tiny)
    assert said.code == 0
    assert "not tried: out of memory: CUDA" in said.out
    assert "out of memory" in command("check", "tiny").refusal


def test_a_folder_without_an_index_names_its_files(command: Command, tmp_path: Path) -> None:
    folder = tmp_path / "webui"
    folder.mkdir()
    save_file({"a": torch.zeros(1)}, folder / "v1-5.safetensors")
    refusal = command("add", folder).refusal
    assert "no model_index.json" in refusal
    assert "v1-5.safetensors" in refusal
    assert "is not there" in command("add", tmp_path / "nowhere").refusal
