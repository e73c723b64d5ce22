"""A store of each kind, for the contract suites."""

import copy
from collections.abc import AsyncIterator, Callable

import pytest

from jobs.memory_store import MemoryStore
from jobs.redis_store import RedisStore
from jobs.settings import JobsSettings
from jobs.store import JobStore

MakeStore = Callable[..., JobStore]


@pytest.fixture(params=["redis", "memory"])
async def make_store(
    request: pytest.FixtureRequest, jobs_settings: JobsSettings
) -> AsyncIterator[MakeStore]:
    kind = RedisStore if request.param == "redis" else MemoryStore
    stores: list[JobStore] = []

    def make(**changes: object) -> JobStore:
        settings = jobs_settings.model_copy(update=changes)
        if kind is MemoryStore and stores:  # as two Redis stores do, they share what they hold
            store: JobStore = copy.copy(stores[0])
            vars(store)["_settings"] = settings
        else:
            store = kind(settings)
        stores.append(store)
        return store

    yield make
    for store in stores:
        await store.close()


@pytest.fixture
def store(make_store: MakeStore) -> JobStore:
    return make_store()
