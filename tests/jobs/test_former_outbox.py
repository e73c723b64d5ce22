"""The outbox beside processes of the version before it had a line for each tenant.

Their very scripts run here, from a kept archive.
"""

import asyncio
import zipfile
from collections.abc import AsyncIterator
from time import monotonic
from typing import Any

import pytest

from jobs.outbox import Delivery, DeliveryTerms, OutboxCounts
from jobs.redis_store import RedisStore
from jobs.schema import SCHEMA_VERSION
from jobs.scripts import NAMES, SHARED
from jobs.settings import JobsSettings
from jobs.webhook import WebhookState
from tests.jobs.former_records import FOLDER
from tests.jobs.test_outbox import submit, taken, taken_after, told

BRIEF = DeliveryTerms(lease_s=0.05, max_attempts=3, limit_of_tenant=9, limit_of_slow=9)


@pytest.fixture
async def former(jobs_settings: JobsSettings) -> AsyncIterator[RedisStore]:
    """Open a store that runs the former scripts."""
    store = RedisStore(jobs_settings)
    scripts: dict[str, Any] = vars(vars(store)["_scripts"])["_scripts"]
    with zipfile.ZipFile(FOLDER / "lua-1.zip") as kept:
        text = {name: kept.read(f"jobs/lua/{name}.lua").decode() for name in (*SHARED, *NAMES)}
    for name in NAMES:
        whole = "\n".join(text[part] for part in (*SHARED, name))
        scripts[name] = vars(store)["_redis"].register_script(whole)
    yield store
    await store.close()


async def end(store: RedisStore, *names: str, tenant: str = "public") -> None:
    for name in names:
        await submit(store, name, tenant=tenant)
        await store.cancel(name)


async def left(store: RedisStore) -> set[str]:
    """Return the keys of the outbox that still hold something."""
    redis, prefix = vars(store)["_redis"], vars(store)["_prefix"]
    found = {key.decode().removeprefix(f"{prefix}:") for key in await redis.keys(f"{prefix}:*")}
    lined_up = await redis.get(f"{prefix}:outbox_lined_up")
    assert int(lined_up) == 0
    return {key for key in found if "outbox" in key} - {"outbox_lined_up", "outbox_adopting"}


async def deliver_all(store: RedisStore) -> list[str]:
    """Sweep and deliver until nothing is pending; return what was delivered."""
    told_of: list[str] = []
    async with asyncio.timeout(30):
        while (await store.outbox.counts()).pending:
            await store.sweep()
            for delivery in await taken(store):
                assert await store.outbox.settle(delivery, "delivered")
                told_of.append(delivery.job_id)
            await asyncio.sleep(0.01)
    return told_of


async def test_what_it_left_is_delivered_once(former: RedisStore, redis_store: RedisStore) -> None:
    await end(former, "new", "given-up", "put-off", "leased", "crashed")
    await end(former, "b", tenant="b")
    await former.delete("new")
    for delivery in await taken(former, terms=BRIEF):
        if delivery.job_id == "given-up":
            await former.outbox.settle(delivery, "failed", note="HTTP 410")
        if delivery.job_id == "put-off":
            await former.outbox.settle(delivery, "retried", note="HTTP 503", delay_s=0.2)
    await end(former, "last", tenant="c")
    delivered = await deliver_all(redis_store)
    assert sorted(delivered) == ["b", "crashed", "last", "leased", "put-off"]
    assert (await told(redis_store, "put-off")).attempts == 2
    assert (await told(redis_store, "given-up")).state is WebhookState.FAILED
    assert await left(redis_store) == set()


async def test_each_delivers_what_the_other_posted(
    former: RedisStore, redis_store: RedisStore
) -> None:
    await end(redis_store, "ours-1", "ours-2")
    await end(former, "theirs-1", "theirs-2")
    await redis_store.sweep()
    one = await taken(former, 2)
    two = await taken(redis_store, 4)
    assert {d.job_id for d in one} == {"ours-1", "ours-2"}  # the former goes by due time alone
    assert {d.job_id for d in two} == {"theirs-1", "theirs-2"}
    assert await taken(former) == []
    assert await taken(redis_store) == []
    for store, deliveries in ((former, one), (redis_store, two)):
        for delivery in deliveries:
            assert await store.outbox.settle(delivery, "delivered")
    assert await redis_store.outbox.counts() == OutboxCounts(0, 0)
    assert await former.outbox.counts() == OutboxCounts(0, 0)
    await expire(redis_store)
    assert await taken(redis_store) == []
    assert await left(redis_store) == set()


async def expire(store: RedisStore) -> None:
    """Let the time of every lease and pause pass."""
    redis, prefix = vars(store)["_redis"], vars(store)["_prefix"]
    for key in await redis.keys(f"{prefix}:*outbox*"):
        if await redis.type(key) == b"zset":
            for member in await redis.zrange(key, 0, -1):
                await redis.zadd(key, {member: 1.0})


async def test_a_door_of_each_that_dies_is_made_up_for_by_the_other(
    former: RedisStore, redis_store: RedisStore
) -> None:
    await end(redis_store, "a")
    for store, other in ((former, redis_store), (redis_store, former)):
        await store.outbox.again("a")
        await redis_store.sweep()
        began = monotonic()
        (first,) = await taken(store, terms=BRIEF)
        second = await taken_after(other, began, BRIEF.lease_s)
        assert (first.attempt, second.attempt) == (1, 2)
        assert not await store.outbox.settle(first, "delivered")
        assert await other.outbox.settle(second, "delivered")
        assert (await told(store, "a")).state is WebhookState.DELIVERED


async def test_a_pause_that_it_set_is_kept_and_a_delivery_it_asks_for_found(
    former: RedisStore, redis_store: RedisStore
) -> None:
    await end(redis_store, "a", "b")
    for delivery in await taken(former):
        await former.outbox.settle(delivery, "retried", note="HTTP 503", delay_s=600)
    assert await taken(redis_store) == []
    await former.outbox.again("a")
    await redis_store.sweep()
    found: list[Delivery] = await taken(redis_store)
    assert [(d.job_id, d.attempt) for d in found] == [("a", 1)]


async def test_a_job_that_it_forgot_is_not_told_of(
    former: RedisStore, redis_store: RedisStore
) -> None:
    await end(redis_store, "a", "b", "c", tenant="t")
    await former.delete("a")
    assert await former.purge("t", 1) == 1
    assert [d.job_id for d in await taken(redis_store)] == ["c"]
    await former.delete("c")
    await expire(redis_store)
    assert await taken(redis_store) == []
    assert await left(redis_store) == set()


async def test_doors_that_keep_dying_end_a_delivery_between_them(
    former: RedisStore, redis_store: RedisStore
) -> None:
    await end(former, "a")
    brief = DeliveryTerms(lease_s=0.0, max_attempts=4, limit_of_tenant=9, limit_of_slow=9)
    await redis_store.sweep()
    for store in (former, redis_store) * 2:
        assert len(await taken(store, terms=brief)) == 1
        await asyncio.sleep(0.002)
    for store in (former, redis_store):
        assert await taken(store, terms=brief) == []
    assert (await told(redis_store, "a")).state is WebhookState.FAILED


async def test_what_a_newer_version_posted_is_left_to_it(redis_store: RedisStore) -> None:
    redis, prefix = vars(redis_store)["_redis"], vars(redis_store)["_prefix"]
    await end(redis_store, "newer", "ours")
    job, line = f"{prefix}:job:newer", f"{prefix}:tenant:public:outbox"
    await redis.hset(job, "schema_version", SCHEMA_VERSION + 1)
    before = await redis.hgetall(job), await redis.zscore(line, "newer")
    for _ in range(3):
        await redis_store.sweep()
        for delivery in await taken(redis_store):
            assert delivery.job_id == "ours"
            assert await redis_store.outbox.settle(delivery, "delivered")
    assert (await redis_store.outbox.counts()).pending == 1
    assert (await redis.hgetall(job), await redis.zscore(line, "newer")) == before
