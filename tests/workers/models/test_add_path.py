"""Models of this machine: added, said, checked, replaced and removed."""

import json
import os
import resource
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from diffusion.files import digest
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
                  "taken by the sampler ddim", "for the weights alone", "no file states one",
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


def test_what_a_worker_refuses_is_not_installed(command: Command, mine: Path) -> None:
    config = mine / "unet" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"in_channels": 9}))
    said = command("add", mine)
    assert "unet/config.json" in said.refusal
    assert command.names() == []
    assert command("add", mine, "--no-check").code == 0
    assert "for inpainting" in command("show", "tiny").out
    assert "unet/config.json" in command("check", "tiny").refusal


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
