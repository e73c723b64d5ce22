"""A run of two steps, shared by the tests that only read it."""

from pathlib import Path

import pytest

from model_export.bundle import Defaults, bundle_run
from tests.model_export.training.test_training import run


@pytest.fixture(scope="session")
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    run(folder, 2)
    return folder


@pytest.fixture
def bundle(run_folder: Path, tmp_path: Path) -> Path:
    """Return a bundle that the test may spoil."""
    return bundle_run(run_folder, tmp_path / "toy", Defaults(name="toy", title="Toy"))
