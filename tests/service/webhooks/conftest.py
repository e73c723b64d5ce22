"""Receivers, and doors that deliver to this machine."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from httpx import AsyncClient

from jobs.settings import JobsSettings
from tests.service.keyed import Keyed, keyed_door
from tests.service.webhooks.receiver import Receiver, receiver

LOCAL: dict[str, Any] = {
    "webhook_allow_http": True,
    "webhook_networks": ("127.0.0.0/8",),
    "webhook_poll_s": 0.02,
    "webhook_retry_s": 0.02,
    "webhook_timeout_s": 30.0,
    "webhook_max_attempts": 4,
}


def delivering_door(shared: JobsSettings, **changes: Any) -> AbstractAsyncContextManager[Keyed]:
    """Return a door that delivers to this machine, and often."""
    return keyed_door(shared, **(LOCAL | changes))


@pytest.fixture
async def door(jobs_settings: JobsSettings, announced: None) -> AsyncIterator[Keyed]:
    async with delivering_door(jobs_settings) as opened:
        yield opened


@pytest.fixture
async def http(door: Keyed) -> AsyncIterator[AsyncClient]:
    """Return a client of the door with a key of tenant ``a``."""
    async with await door.caller("a") as opened:
        yield opened


@pytest.fixture
def received() -> Iterator[Receiver]:
    with receiver() as running:
        yield running
