"""Stores for the contract suites."""

from collections.abc import AsyncIterator, Callable

import pytest

from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from jobs.store import JobStore

MakeStore = Callable[..., JobStore]


@pytest.fixture
async def make_store(jobs_settings: JobsSettings) -> AsyncIterator[MakeStore]:
    """Return what opens stores on the test's own keys, with settings changed as given."""
    stores: list[RedisStore] = []

    def make(**changes: object) -> RedisStore:
        stores.append(RedisStore(jobs_settings.model_copy(update=changes)))
        return stores[-1]

    yield make
    for store in stores:
        await store.close()


@pytest.fixture
def store(redis_store: RedisStore) -> JobStore:
    return redis_store
