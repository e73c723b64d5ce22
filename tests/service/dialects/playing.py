"""A worker that the test plays beside a call of another API's client."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import BytesIO

from PIL import Image

from jobs.redis.store import RedisStore
from jobs.schema import JobRecord
from jobs.store import Claim
from tests.jobs.examples import claim

Act = Callable[[Claim], Awaitable[object]]


def png() -> bytes:
    """Return a picture that a client can open."""
    out = BytesIO()
    Image.new("RGB", (64, 64), "red").save(out, "PNG")
    return out.getvalue()


@asynccontextmanager
async def drawing(
    store: RedisStore, act: Act, timeout_s: float = 90
) -> AsyncIterator[list[JobRecord]]:
    """Play a worker beside the block: claim the next job and act on it."""
    claimed: list[JobRecord] = []

    async def work() -> None:
        async with asyncio.timeout(timeout_s):
            while not (await store.backlog("toy")).pending_jobs:
                await asyncio.sleep(0.01)
            held = await claim(store)
            claimed.append(held.record)
            await act(held)

    task = asyncio.create_task(work())
    try:
        yield claimed
        await task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
