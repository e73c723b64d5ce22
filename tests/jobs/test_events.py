"""Following a job's events where Redis refuses to tell them."""

import asyncio

import pytest

from jobs.errors import StoreUnavailable
from jobs.redis_store import RedisStore
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
