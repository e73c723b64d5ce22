"""``sfumato completion``: what a shell learns from it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from service.cli.main import app

SHELLS = ("bash", "zsh", "fish")
ASKED = {  # how each shell's script asks for the words that may follow "sfumato jo"
    "bash": {"COMP_WORDS": "sfumato jo", "COMP_CWORD": "1"},
    "zsh": {"_TYPER_COMPLETE_ARGS": "sfumato jo"},
    "fish": {"_TYPER_COMPLETE_ARGS": "sfumato jo", "_TYPER_COMPLETE_FISH_ACTION": "get-args"},
}


@pytest.fixture
def program(tmp_path: Path) -> dict[str, str]:
    """Return an environment with a program ``sfumato`` of this very source."""
    script = tmp_path / "sfumato"
    script.write_text(f"#!{sys.executable}\nfrom service.cli.main import main\nmain()\n")
    script.chmod(0o755)
    root = str(Path(__file__).parents[3])
    return os.environ | {"PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": root}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_asks_the_program_back(shell: str) -> None:
    script = CliRunner().invoke(app, ["completion", shell]).output
    assert f"_SFUMATO_COMPLETE=complete_{shell}" in script
    assert set(ASKED[shell]) <= {word for word in ASKED[shell] if word in script}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_program_answers_a_shell(shell: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_SFUMATO_COMPLETE", f"complete_{shell}")
    for name, value in ASKED[shell].items():
        monkeypatch.setenv(name, value)
    outcome = CliRunner().invoke(app, [], prog_name="sfumato")
    assert outcome.exit_code == 0
    assert "jobs" in outcome.output
    assert "models" not in outcome.output


@pytest.mark.full
def test_bash_completes(program: dict[str, str]) -> None:
    typed = (
        'eval "$(sfumato completion bash)"; COMP_WORDS=(sfumato grid a --sa); COMP_CWORD=3; '
        '_sfumato_completion sfumato; echo "${COMPREPLY[@]}"'
    )
    outcome = subprocess.run(
        ["bash", "-c", typed], env=program, capture_output=True, text=True, timeout=50
    )
    assert (outcome.stdout, outcome.stderr) == ("--sampler\n", "")


def test_another_shell_is_refused_by_name() -> None:
    outcome = CliRunner().invoke(app, ["completion", "tcsh"])
    assert outcome.exit_code == 2
    assert "'tcsh'" in outcome.output
