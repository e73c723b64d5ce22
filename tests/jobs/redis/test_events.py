"""Following a job's events where Redis cannot read them."""

import asyncio

import pytest

from jobs.errors import StoreUnavailable
from jobs.redis.events import BEGINNING, BatchReader
from jobs.redis.store import RedisStore
from jobs.store import Event
from tests.jobs.examples import submit


async def test_streams_are_read_together_and_one_that_fails_harms_no_other(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"job{i}" for i in range(40)]
    for name in names:
        await submit(store, name)
    redis, prefix = vars(store)["_redis"], vars(store)["_prefix"]
    await redis.set(f"{prefix}:events:job7", "no stream")
    reading = (anext(store.events(name)) for name in names)
    async with asyncio.timeout(60):  # a read that fails is not retried for ever
        firsts = await asyncio.gather(*reading, return_exceptions=True)
    assert [i for i, first in enumerate(firsts) if isinstance(first, StoreUnavailable)] == [7]
    assert "WRONGTYPE" in str(firsts[7])
    assert sum(isinstance(first, Event) and first.kind == "status" for first in firsts) == 39

    trips = 0
    pipeline = redis.pipeline

    def counted(**options: bool) -> object:
        nonlocal trips
        trips += 1
        return pipeline(**options)

    monkeypatch.setattr(redis, "pipeline", counted)
    reader = BatchReader(redis, prefix)  # without the subscriptions, which are confirmed any time
    await asyncio.gather(*(reader.read(name, BEGINNING) for name in names if name != "job7"))
    assert trips == 2  # 32 at most in one


async def test_a_cancelled_read_leaves_the_others_alone(store: RedisStore) -> None:
    await submit(store, "gone")
    await submit(store, "here")
    leaving = asyncio.ensure_future(anext(store.events("gone")))
    staying = asyncio.ensure_future(anext(store.events("here")))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await asyncio.wait_for(staying, 60)).kind == "status"


async def test_reading_when_the_store_closes_is_an_error(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"job{i}" for i in range(40)]  # more than go in one round trip
    for name in names:
        await submit(store, name)
    redis = vars(store)["_redis"]
    pipeline, asked = redis.pipeline, asyncio.Event()

    async def unanswered(**options: bool) -> object:
        asked.set()
        return await asyncio.get_running_loop().create_future()

    def held_back(**options: bool) -> object:
        pipe = pipeline(**options)
        pipe.execute = unanswered
        return pipe

    monkeypatch.setattr(redis, "pipeline", held_back)
    reading = [asyncio.ensure_future(anext(store.events(name))) for name in names]
    await asked.wait()
    while not vars(vars(store)["_hub"])["_reader"]._reads:
        await asyncio.sleep(0)
    await vars(store)["_hub"].close()
    async with asyncio.timeout(60):
        ends = await asyncio.gather(*reading, return_exceptions=True)
    assert all(isinstance(each, StoreUnavailable) for each in ends)
    with pytest.raises(StoreUnavailable, match="closed"):
        await anext(store.events("job0"))


async def test_an_error_reaches_its_reader(
    store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submit(store, "job")

    def broken(**options: bool) -> object:
        raise ValueError("a fault of the client's")

    monkeypatch.setattr(vars(store)["_redis"], "pipeline", broken)
    with pytest.raises(ValueError, match="a fault"):
        await anext(store.events("job"))
