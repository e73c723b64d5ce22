"""`sfumato models add` and its kin hand their words to the workers' side, whatever they are."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli import models
from service.cli.main import app
from workers.models import cli

VERBS: dict[str, list[list[str]]] = {
    "add": [
        ["hf:a/b@main", "--name=-x", "--lora", "a.safetensors:0.5", "--lora", "b.safetensors"],
        ["-strange", "--vae", "v", "--variant", "fp16", "--sha256", "0" * 64, "--replace"],
        ["https://example.org/m.tar", "--no-check", "--prediction", "v_prediction", "--ema",
         "--zero-snr"],
    ],
    "installed": [[]],
    "show": [["emoji"], ["-x"]],
    "check": [["emoji", "--files-only", "--sha256", "0" * 64]],
    "remove": [["x"]],
}  # fmt: skip


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Start nothing; return the command lines that would be run."""
    found: list[list[str]] = []

    class Process:
        def __init__(self, command: list[str]) -> None:
            found.append(command)

        def __enter__(self) -> "Process":
            return self

        def __exit__(self, *_: object) -> None:
            return

        def wait(self) -> int:
            return 3

    monkeypatch.setattr(subprocess, "Popen", Process)
    return found


@pytest.mark.parametrize(("verb", "words"), [(v, w) for v, each in VERBS.items() for w in each])
def test_every_option_arrives(started: list[list[str]], verb: str, words: list[str]) -> None:
    given = [*words[1:], "--", *words[:1]] if words else []
    outcome = CliRunner().invoke(app, ["models", verb, *given])
    assert outcome.exit_code == 3, outcome.output
    ((python, flag, module, *passed),) = started
    assert [python, flag, module] == [sys.executable, "-m", "workers.models"]
    parsed = cli._parser().parse_args(passed)
    direct = cli._parser().parse_args([verb, *given])
    assert vars(parsed) == vars(direct)


def test_an_installed_model_is_exported_by_its_name(
    started: list[list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models" / "sdxl").mkdir(parents=True)
    (tmp_path / "models" / "sdxl" / "added.json").write_text("{}")
    monkeypatch.setenv("SFUMATO_MODELS", str(tmp_path / "models"))
    assert CliRunner().invoke(app, ["models", "export", "sdxl"]).exit_code == 3
    assert started[0][3] == str(tmp_path / "models" / "sdxl")
    refused = CliRunner().invoke(app, ["models", "export", "sd15"])
    assert refused.exit_code == 2
    assert "(emoji, sdxl)" in refused.output


@pytest.mark.parametrize("verb", VERBS)
def test_without_the_workers_libraries_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    monkeypatch.setattr(models, "find_spec", lambda n: None if n == "torch" else find_spec(n))
    outcome = CliRunner().invoke(app, ["models", verb, *(VERBS[verb][0][:1])])
    assert outcome.exit_code == 1
    (line,) = outcome.output.splitlines()
    assert line == (
        "sfumato: this needs torch and diffusers of the extra `worker`: pip install '.[worker]'"
    )


def test_the_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_MODELS", str(tmp_path / "models"))
    words = [sys.executable, "-m", "service.cli.main", "models"]
    listed = subprocess.run([*words, "installed"], capture_output=True, text=True, timeout=140)
    assert listed.stdout.split() == ["model", "size", "kind", "source"]
    gone = subprocess.run([*words, "show", "gone"], capture_output=True, text=True, timeout=140)
    assert gone.returncode == 1
    assert gone.stderr.startswith("sfumato: gone is neither a folder nor an installed model")
