from pathlib import Path

import pytest

from diffusion.bundle import Bundle, load_bundle
from tests.bundles import tiny_bundle


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    return load_bundle(Path(tiny_bundle(folder)))
