"""One run of the service that all tests here look at."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.settings import JobsSettings
from tests.bundles import tiny_bundle
from tests.observation.live import Live, draw, running


@pytest.fixture(scope="session")
def live_settings(redis_url: str) -> JobsSettings:
    return JobsSettings(redis_url=redis_url, key_prefix="observed")


@pytest.fixture(scope="session")
def live(live_settings: JobsSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder: Path = tmp_path_factory.mktemp("observed")
    model = tiny_bundle(folder / "tiny")
    with running(live_settings, model, folder) as started:
        draw(started, live_settings)
        yield started
