"""Fixtures that every test may use: a private Redis and a store with keys of its own."""

import itertools
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from jobs.logs import configure
from jobs.redis_store import RedisStore
from jobs.settings import JobsSettings
from tests.redis_server import redis_server

_prefixes = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def logs() -> None:
    """Log as the processes do."""
    configure("json", "WARNING")


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one server for the whole test session."""
    folder: Path = tmp_path_factory.mktemp("redis")
    with redis_server(folder) as url:
        yield url


@pytest.fixture(scope="session")
def exported_tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Export the tiny bundle once; whoever changes it takes a copy."""
    from tests.bundles import tiny_bundle  # the libraries behind it are slow to import
    from tests.exports import exported

    work = tmp_path_factory.mktemp("exported")
    return exported(tiny_bundle(work / "tiny"), work / "onnx")


@pytest.fixture
def jobs_settings(redis_url: str) -> JobsSettings:
    """Give each test its own keys."""
    prefix = f"test-{os.getpid()}-{next(_prefixes)}"
    return JobsSettings(redis_url=redis_url, key_prefix=prefix)


@pytest.fixture
async def redis_store(jobs_settings: JobsSettings) -> AsyncIterator[RedisStore]:
    """Open a store on the private server."""
    store = RedisStore(jobs_settings)
    yield store
    await store.close()
