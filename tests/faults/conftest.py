from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs.settings import JobsSettings
from tests.bundles import tiny_bundle
from tests.conftest import Opened
from tests.faults.client import Client
from tests.faults.processes import Worker

Start = Callable[..., Worker]


def with_long_leases(settings: JobsSettings) -> JobsSettings:
    """Return settings of tests that wait for no lease's end: a busy machine ends none either."""
    return settings.model_copy(update={"lease_s": 60.0})


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_bundle(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def start(jobs_settings: JobsSettings, tiny: Path, tmp_path: Path) -> Iterator[Start]:
    """Start workers by name; all are ended with the test."""
    started: list[Worker] = []

    def begin(name: str, settings: JobsSettings = jobs_settings, **env: Any) -> Worker:
        worker = Worker(settings, tiny, name, tmp_path / f"{name}.log", **env)
        started.append(worker)
        return worker

    yield begin
    for worker in started:
        worker.end()
        print(worker.log.read_text()[-3000:])


@pytest.fixture
async def client(jobs_settings: JobsSettings, opened: Opened[Client]) -> Client:
    return opened(Client(jobs_settings))
