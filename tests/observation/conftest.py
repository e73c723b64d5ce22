"""One run of the service that all tests here look at."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.settings import JobsSettings
from tests.bundles import tiny_bundle
from tests.observation.figures import Figures
from tests.observation.live import Live, draw, running
from tests.processes import wait

LAST_END = 'model_outcome:sfumato_jobs:rate5m{outcome="failed"} > 0'
EVALUATION_S = 1.0
"""Rules that build on rules of another group see them a second later."""


@pytest.fixture(scope="session")
def live_settings(redis_url: str) -> JobsSettings:
    # A busy machine ends no lease so long: every job is to be one attempt.
    return JobsSettings(redis_url=redis_url, key_prefix="observed", lease_s=60.0)


@pytest.fixture(scope="session")
def live(live_settings: JobsSettings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder: Path = tmp_path_factory.mktemp("observed")
    model = tiny_bundle(folder / "tiny")
    with running(live_settings, model, folder) as started:
        draw(started, live_settings)
        yield started


@pytest.fixture(scope="session")
def figures(live: Live) -> Figures:
    found = Figures(live.prometheus, live.began)
    wait("the last end to be scraped", lambda: bool(found.over_time(LAST_END)))
    scraped = time.time()
    wait("every rule to see it", lambda: found.evaluated_since(scraped + EVALUATION_S))
    return found
