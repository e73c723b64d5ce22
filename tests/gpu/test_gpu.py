"""The check of a device runs on a processor, and what it imports is carried to the device."""

import json
import os
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name

from tests.gpu.wheels import THERE, closure

ROOT = Path(__file__).parents[2]
IMPORTS = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1:]))  # an import of it fails
import tests.gpu.__main__, workers.app, service.uvicorn_door
"""


def test_what_the_check_imports_is_carried_or_there() -> None:
    carried = closure().keys() | THERE | {"sfumato"}
    missing = [
        module
        for module, names in packages_distributions().items()
        if not carried & {canonicalize_name(name) for name in names}
    ]
    command = [sys.executable, "-W", "ignore", "-c", IMPORTS, *missing]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert {"ray", "hypothesis", "sklearn", "mypy"} & {*missing}


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_part_runs_on_a_processor(tmp_path: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-m", "tests.gpu", "--device", "cpu", "--tiny"]
    run = subprocess.run(
        command, cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    report = json.loads((tmp_path / "out" / "gpu.json").read_text())
    assert not any(figures.get("failed") for figures in report["parts"].values())
    not_run = {name for name, figures in report["parts"].items() if "not_run" in figures}
    assert not_run == {"out of memory"}
    assert report["parts"]["kill and resume"]["attempts"] == [2, 2, 2, 2]
