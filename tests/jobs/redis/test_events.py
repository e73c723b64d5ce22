"""Following a job's events where Redis refuses to tell them."""

import asyncio

import pytest

from jobs.errors import StoreUnavailable
from jobs.redis.store import RedisStore
from jobs.store import Event
from tests.jobs.examples import spec


async def test_a_stream_that_cannot_be_read_ends_and_is_not_tried_for_ever(
    redis_store: RedisStore,
) -> None:
    await redis_store.create("job", spec(), 10)
    redis, prefix = vars(redis_store)["_redis"], vars(redis_store)["_prefix"]
    await redis.set(f"{prefix}:events:job", "no stream")
    with pytest.raises(StoreUnavailable, match="WRONGTYPE"):
        async with asyncio.timeout(5):
            await anext(redis_store.events("job"))


async def test_streams_are_read_together_and_one_that_cannot_be_harms_no_other(
    redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"job{i}" for i in range(40)]
    for name in names:
        await redis_store.create(name, spec(), 10)
    redis, prefix = vars(redis_store)["_redis"], vars(redis_store)["_prefix"]
    await redis.set(f"{prefix}:events:job7", "no stream")
    trips = 0
    pipeline = redis.pipeline

    def counted(**options: bool) -> object:
        nonlocal trips
        trips += 1
        return pipeline(**options)

    monkeypatch.setattr(redis, "pipeline", counted)
    firsts = await asyncio.gather(
        *(anext(redis_store.events(name)) for name in names), return_exceptions=True
    )
    assert [i for i, first in enumerate(firsts) if isinstance(first, StoreUnavailable)] == [7]
    assert sum(isinstance(first, Event) and first.kind == "status" for first in firsts) == 39
    assert trips <= 4  # 32 at most in one


async def test_a_read_that_nobody_waits_for_any_more_leaves_the_others_theirs(
    redis_store: RedisStore,
) -> None:
    await redis_store.create("gone", spec(), 10)
    await redis_store.create("here", spec(), 10)
    leaving = asyncio.ensure_future(anext(redis_store.events("gone")))
    staying = asyncio.ensure_future(anext(redis_store.events("here")))
    await asyncio.sleep(0)
    leaving.cancel()
    assert (await asyncio.wait_for(staying, 5)).kind == "status"


async def test_a_pending_read_fails_when_the_store_closes(redis_store: RedisStore) -> None:
    names = [f"job{i}" for i in range(40)]  # more than go in one round trip
    for name in names:
        await redis_store.create(name, spec(), 10)
    reading = [asyncio.ensure_future(anext(redis_store.events(name))) for name in names]
    while not vars(vars(redis_store)["_hub"])["_reader"]._reads:
        await asyncio.sleep(0)
    await vars(redis_store)["_hub"].close()
    async with asyncio.timeout(5):
        ends = await asyncio.gather(*reading, return_exceptions=True)
    assert all(isinstance(each, StoreUnavailable) for each in ends)
    with pytest.raises(StoreUnavailable, match="closed"):
        await anext(redis_store.events("job0"))


async def test_what_is_wrong_with_a_read_reaches_who_reads(
    redis_store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await redis_store.create("job", spec(), 10)

    def broken(**options: bool) -> object:
        raise ValueError("a fault of the client's")

    monkeypatch.setattr(vars(redis_store)["_redis"], "pipeline", broken)
    with pytest.raises(ValueError, match="a fault"):
        await anext(redis_store.events("job"))
