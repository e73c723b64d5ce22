"""How long a request holds up the event loop."""

import asyncio
from collections.abc import AsyncIterator
from time import thread_time

import pytest


@pytest.fixture
async def slept() -> AsyncIterator[list[float]]:
    """Return how long the event loop was held up, each time that it was."""
    found: list[float] = []

    async def watch() -> None:
        while True:
            began = thread_time()
            await asyncio.sleep(0)
            found.append(thread_time() - began)

    watching = asyncio.create_task(watch())
    yield found
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
