"""Stores with settings of their own."""

from collections.abc import Callable
from typing import Any

import pytest

from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from tests.conftest import Opened

OpenStore = Callable[..., RedisStore]


@pytest.fixture
async def open_store(jobs_settings: JobsSettings, opened: Opened[Any]) -> OpenStore:
    """Return a function that opens a store on the test's keys, with settings changed as given."""
    return lambda **changes: opened(RedisStore(jobs_settings.model_copy(update=changes)))
