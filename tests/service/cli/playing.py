"""Commands against a door behind a socket, and a worker that the test plays beside them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from typer.testing import CliRunner, Result

from jobs.fleet import WorkerEntry
from jobs.redis.store import RedisStore
from jobs.schema import JobError
from jobs.store import Claim
from service.cli.main import app
from tests.service.dialects.playing import png
from tests.service.worker import advance, finish

PATIENCE_S = 120
Act = Callable[[Claim], Awaitable[object]]


async def command(*words: str, code: int = 0) -> Result:
    """Run ``sfumato`` in a thread, so that the test can act meanwhile; check its exit code."""
    outcome = await asyncio.to_thread(CliRunner().invoke, app, words)
    assert outcome.exit_code == code, outcome.output
    return outcome


@asynccontextmanager
async def worker(store: RedisStore, act: Act) -> AsyncIterator[None]:
    """Play a worker beside the block: claim every job and act on it.

    If it fails or the block takes too long, all jobs are canceled, so that no command waits on.
    """

    over = asyncio.Event()

    async def work() -> None:
        try:
            async with asyncio.timeout(PATIENCE_S):
                while not over.is_set():
                    if (held := await store.claim("toy", "w", idle=True)) is not None:
                        await act(held)
                    await asyncio.sleep(0.01)
        except Exception:
            for record in (await store.list(tenant=None, limit=100)).records:
                await store.cancel(record.id)
            raise

    task = asyncio.create_task(work())
    try:
        yield
    finally:
        over.set()
        await task


@asynccontextmanager
async def alive(store: RedisStore, entry: WorkerEntry) -> AsyncIterator[None]:
    """Announce a worker again and again beside the block, however long that takes."""

    async def announce() -> None:
        while True:
            await store.announce_worker(entry)
            await asyncio.sleep(1)

    await store.announce_worker(entry)
    task = asyncio.create_task(announce())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


def drawing(store: RedisStore, unlucky: Callable[[Claim], bool] = lambda _: False) -> Act:
    """Return an act that draws each job with one preview, and fails those that are unlucky."""

    async def act(held: Claim) -> None:
        await advance(store, held, 1, preview=True)
        if unlucky(held):
            await store.fail(held.lease, JobError(code="internal", detail="the brush broke"))
        else:
            await finish(store, held, png())

    return act
