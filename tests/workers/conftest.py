from pathlib import Path

import pytest

from diffusion.bundle import Bundle, load_bundle
from tests.bundles import tiny_bundle
from tests.exports import exported


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    return load_bundle(Path(tiny_bundle(folder)))


@pytest.fixture(scope="session")
def onnx_bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    work = tmp_path_factory.mktemp("exported")
    return load_bundle(exported(tiny_bundle(work / "tiny"), work / "onnx"), backend="onnx")
