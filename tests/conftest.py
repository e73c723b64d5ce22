"""Fixtures that every test may use: a private Redis and a store with keys of its own."""

import fcntl
import itertools
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from inspect import isawaitable
from pathlib import Path
from typing import Any, TypeVar

import pytest
from redis import Redis

from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from jobs.telemetry.logs import configure
from tests.redis_server import redis_server

pytest_plugins = ["tests.needs", "tests.leaks"]
T = TypeVar("T")
Opened = Callable[[T], T]
_prefixes = itertools.count()


@pytest.fixture(scope="session", autouse=True)
def logs() -> None:
    """Log as the processes do."""
    configure("json", "WARNING")


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep what workers keep on disk apart from this machine's."""
    folder = str(tmp_path_factory.mktemp("cache"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SFUMATO_CACHE", folder)
        yield


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run one server for the whole test session."""
    folder: Path = tmp_path_factory.mktemp("redis")
    with redis_server(folder) as url:
        yield url


@pytest.fixture(scope="session")
def exported_tiny(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """Export the tiny bundle once, for all test processes; a test that changes it makes a copy."""
    from tests.bundles import tiny_bundle  # the libraries behind it are slow to import
    from tests.exports import exported

    own = tmp_path_factory.getbasetemp()
    work = (own if worker_id == "master" else own.parent) / "exported"
    work.mkdir(exist_ok=True)
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (work / "onnx").exists():
            exported(tiny_bundle(work / "tiny"), work / "making")
            (work / "making").rename(work / "onnx")
    return work / "onnx"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no test process is left alone with it in the end."""
    for item in items:  # Schemathesis gives all operations one id, and equal ids are run once
        if label := getattr(item, "operation_label", None):
            item._id = item._id.with_params(label)
    assert len({item.nodeid for item in items}) == len(items)
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture
def jobs_settings(redis_url: str) -> JobsSettings:
    """Give each test its own keys."""
    prefix = f"test-{os.getpid()}-{next(_prefixes)}"
    return JobsSettings(redis_url=redis_url, key_prefix=prefix)


@pytest.fixture
async def opened() -> AsyncIterator[Opened[Any]]:
    """Return a function that returns its argument, which is closed when the test ends."""

    async def close(resource: Any) -> None:
        closing = resource.close()
        if isawaitable(closing):
            await closing

    async with AsyncExitStack() as stack:

        def keep(resource: T) -> T:
            stack.push_async_callback(close, resource)
            return resource

        yield keep


@pytest.fixture
async def store(jobs_settings: JobsSettings, opened: Opened[RedisStore]) -> RedisStore:
    """Open a store on the private server."""
    return opened(RedisStore(jobs_settings))


@pytest.fixture
def redis(jobs_settings: JobsSettings) -> Iterator[Any]:
    """Open a plain client of the private server."""
    with Redis.from_url(jobs_settings.redis_url) as client:
        yield client


@pytest.fixture
def prefix(jobs_settings: JobsSettings) -> str:
    """Return what the test's keys begin with."""
    return f"{{{jobs_settings.key_prefix}}}"
