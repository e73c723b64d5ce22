"""Values that are read again when they are too old."""

import asyncio

import pytest

from jobs.errors import StoreUnavailable
from service.ttl_cache import TtlCache


async def test_value_is_read_once_while_it_is_young() -> None:
    reads = 0

    async def fetch() -> int:
        nonlocal reads
        reads += 1
        await asyncio.sleep(0)
        return reads

    cache = TtlCache(fetch, ttl_s=60)
    assert await asyncio.gather(*(cache.get() for _ in range(5))) == [1] * 5
    assert await cache.refresh() == 2
    assert await cache.get() == 2


async def test_those_who_wait_share_a_failure() -> None:
    tries = 0

    async def fetch() -> int:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0.01)
        if tries == 1:
            raise StoreUnavailable("away")
        return tries

    cache = TtlCache(fetch)
    got = await asyncio.gather(*(cache.get() for _ in range(5)), return_exceptions=True)
    assert [type(each) for each in got] == [StoreUnavailable] * 5
    assert tries == 1
    assert await cache.get() == 2
    with pytest.raises(StoreUnavailable, match="away"):
        raise got[0] if isinstance(got[0], BaseException) else AssertionError
