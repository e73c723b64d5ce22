"""Stores with settings of their own."""

from collections.abc import Callable
from typing import Any

import pytest

from jobs.redis import fleet
from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from tests.conftest import Opened

OpenStore = Callable[..., RedisStore]
RunOut = Callable[..., None]


@pytest.fixture(autouse=True)
def lasting_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a worker that is announced once live for the length of a test."""
    monkeypatch.setattr(fleet, "WORKER_TTL_S", 3600)


@pytest.fixture
async def open_store(jobs_settings: JobsSettings, opened: Opened[Any]) -> OpenStore:
    """Return a function that opens a store on the test's keys, with settings changed as given."""
    return lambda **changes: opened(RedisStore(jobs_settings.model_copy(update=changes)))


@pytest.fixture
def run_out(redis: Any, prefix: str) -> RunOut:
    """Return a function that lets all leases run out, of workers or helpers, for the next sweep."""

    def expire(kind: str = "leases") -> None:
        for member in redis.zrange(f"{prefix}:{kind}", 0, -1):
            redis.zadd(f"{prefix}:{kind}", {member: 0})
        redis.set(f"{prefix}:seen", 1e12)  # no outage

    return expire
