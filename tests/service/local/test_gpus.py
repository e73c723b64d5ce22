"""A worker for each GPU of ``sfumato up --gpus``."""

import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from service.cli.main import app
from service.local import stack
from service.local.errors import StackError
from service.local.gpus import devices_of
from service.local.stack import StackOptions
from service.processes.supervisor import Child, Supervisor

LISTING = "#!/bin/sh\nprintf '0\\n1\\n2\\n'\n"


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder in which programs are looked for, on a machine without a GPU."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return tmp_path


def nvidia_smi(folder: Path, script: str) -> None:
    program = folder / "nvidia-smi"
    program.write_text(script)
    program.chmod(0o755)


def test_all_are_those_that_the_driver_lists(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{machine}{os.pathsep}{os.defpath}")
    nvidia_smi(machine, LISTING)
    assert devices_of("all") == (0, 1, 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7")
    assert devices_of("all") == (0, 1)
    assert devices_of("0,2") == (0, 2)


def test_what_is_wrong_is_named(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for wanted, words in {
        "all": "no nvidia-smi",
        "0,0": "twice",
        "zero": "neither",
        "0,": "neither",
        "-1": "neither",
        "\u0661": "neither",
    }.items():
        with pytest.raises(StackError, match=words):
            devices_of(wanted)
    monkeypatch.setenv("PATH", f"{machine}{os.pathsep}{os.defpath}")
    nvidia_smi(machine, "#!/bin/sh\nexit 9\n")
    with pytest.raises(StackError, match="nvidia-smi fails"):
        devices_of("all")
    nvidia_smi(machine, "#!/bin/sh\n")
    with pytest.raises(StackError, match="lists none"):
        devices_of("all")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(StackError, match="leaves none"):
        devices_of("all")


def test_each_gpu_gets_one_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    children: list[Child] = []
    monkeypatch.setattr(Supervisor, "start", lambda _self, child: children.append(child))
    options: Any = StackOptions(tmp_path, gpus=(0, 2))
    stack._start_workers(options, {"SFUMATO_METRICS_PORT": "9100"}, Supervisor(print))
    assert [(c.env["SFUMATO_DEVICE"], c.env["SFUMATO_METRICS_PORT"]) for c in children] == [
        ("cuda:0", "9100"),
        ("cuda:2", "9101"),
    ]
    assert {c.env["CUDA_DEVICE_ORDER"] for c in children} == {"PCI_BUS_ID"}
    assert options.started == 2


@pytest.mark.parametrize("other", [["--workers", "2"], ["--autoscale", "2"]])
def test_a_number_of_workers_beside_gpus_is_refused(other: list[str], tmp_path: Path) -> None:
    words = ["up", "--gpus", "0", "--data", str(tmp_path / "data"), *other]
    outcome = CliRunner().invoke(app, words)
    assert (outcome.exit_code, "leave out --workers" in outcome.output) == (1, True)
