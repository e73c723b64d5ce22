"""A Redis that deletes keys: refused, and what it did is mended."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from redis import Redis

from jobs.errors import JobNotFound, StartError, StoreEvicts, StoreFull
from jobs.redis.server import check_server
from jobs.redis.store import RedisStore
from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from tests.conftest import Opened
from tests.jobs.conftest import OpenStore
from tests.jobs.examples import MODEL, claim, submit
from tests.redis_server import redis_server

MIB = 1024 * 1024


@pytest.fixture(scope="module")
def own_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Run a server whose configuration may be changed."""
    with redis_server(tmp_path_factory.mktemp("redis-evicts")) as url:
        yield url


@pytest.fixture
def own(own_url: str) -> Iterator[Any]:
    """Open a client of that server, which is as it was afterwards."""
    with Redis.from_url(own_url) as client:
        client.flushall()
        yield client
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", 0)


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-ttl"])
async def test_a_server_that_evicts_is_refused(
    own: Any, own_url: str, opened: Opened[Any], policy: str
) -> None:
    settings = JobsSettings(redis_url=own_url)
    check_server(settings)
    store = opened(RedisStore(settings))
    await submit(store, "before")
    own.config_set("maxmemory-policy", policy)
    with pytest.raises(StartError, match=f"maxmemory-policy is {policy}"):
        check_server(settings)
    store = opened(RedisStore(settings))  # it reads anew at most once a second
    for refused in (store.ping, lambda: submit(store, "after")):
        with pytest.raises(StoreEvicts, match="noeviction"):
            await refused()
    assert (await store.totals()).evicts
    with pytest.raises(JobNotFound):
        await store.get("after")
    assert (await claim(store)).record.id == "before"  # what was accepted is still drawn


async def test_a_setting_accepts_a_server_that_evicts(
    own: Any, own_url: str, opened: Opened[Any]
) -> None:
    own.config_set("maxmemory-policy", "allkeys-lru")
    settings = JobsSettings(redis_url=own_url, redis_eviction="warn")
    check_server(settings)
    store = opened(RedisStore(settings))
    await store.ping()
    await submit(store, "a")
    assert (await store.totals()).evicts


async def test_no_job_is_accepted_close_to_maxmemory(
    own: Any, own_url: str, opened: Opened[Any]
) -> None:
    own.config_set("maxmemory", 100 * MIB)
    store = opened(RedisStore(JobsSettings(redis_url=own_url)))
    assert (await store.totals()).memory_limit_bytes == 90 * MIB
    # What clients come and go with is little beside it. A long argument's copy stays for seconds.
    own.setrange("ballast", 8 * MIB, "x")
    own.config_set("maxmemory", int(own.info("memory")["used_memory"] * 1.05))
    store = opened(RedisStore(JobsSettings(redis_url=own_url)))
    with pytest.raises(StoreFull):
        await submit(store, "a")


@pytest.fixture
async def crowd(store: RedisStore) -> RedisStore:
    """Open a store with thirty jobs of two tenants, of which four run."""
    await store.announce_model(MODEL)
    for number in range(30):
        await submit(store, f"job{number}", "even" if number % 2 == 0 else "odd")
    for _ in range(4):
        await claim(store)
    return store


async def mended(store: RedisStore, sweeps: int = 4) -> int:
    """Sweep a few times; return how many jobs were found to have vanished."""
    return sum([(await store.sweep()).lost for _ in range(sweeps)])


async def check_sums(store: RedisStore, left: set[str]) -> None:
    """Compare all that counts jobs with the jobs that are left."""
    records = [await store.get(name) for name in left]
    queued = [record for record in records if record.status is JobStatus.QUEUED]
    running = [record for record in records if record.status is JobStatus.RUNNING]
    backlog = await store.backlog("toy")
    assert (backlog.pending_jobs, backlog.running_jobs) == (len(queued), len(running))
    assert backlog.pending_units == pytest.approx(sum(record.units for record in queued))
    assert backlog.running_units == pytest.approx(sum(record.units for record in running))
    for tenant in ("even", "odd"):
        mine = [record for record in records if record.spec.tenant == tenant]
        load = await store.tenants.get(tenant)
        assert (load.open_jobs, load.outstanding_units) == (len(mine), 10.0 * len(mine))
        page = await store.list(tenant=tenant, limit=100)
        assert {record.id for record in page.records} == {record.id for record in mine}


async def test_the_backlog_mends_itself_when_jobs_vanish(
    crowd: RedisStore, redis: Any, prefix: str
) -> None:
    names = {f"job{number}" for number in range(30)}
    gone = {f"job{number}" for number in (0, 1, 5, 6, 7, 20, 21, 28)}  # the first two run
    for name in gone:
        redis.delete(f"{prefix}:job:{name}")
    assert await mended(crowd) == len(gone)
    await check_sums(crowd, names - gone)
    assert (await crowd.totals()).lost == len(gone)
    assert await mended(crowd) == 0
    queued = {name for name in names - gone if (await crowd.get(name)).status == "queued"}
    assert {(await claim(crowd)).record.id for _ in queued} == queued
    assert await crowd.claim("toy", "w", idle=True) is None


async def test_a_vanished_job_never_comes_back_as_half_a_record(
    redis: Any, prefix: str, open_store: OpenStore
) -> None:
    """Neither its deadline nor its lease, nor its end, writes to what is gone."""
    store = open_store(record_ttl_s=1e-6)
    await store.announce_model(MODEL)
    await submit(store, "late", deadline_s=0.001)
    await submit(store, "held")
    await claim(store)
    await submit(store, "ended")
    await store.cancel("ended")
    redis.delete(*(f"{prefix}:job:{name}" for name in ("late", "held", "ended")))
    for name, score in redis.zrange(f"{prefix}:leases", 0, -1, withscores=True):
        redis.zadd(f"{prefix}:leases", {name: score - 1e6})
    redis.set(f"{prefix}:seen", 1e12)  # no outage
    assert await mended(store) == 3
    assert not redis.keys(f"{prefix}:job:*")
    assert not redis.keys(f"{prefix}:open:*")
    backlog = await store.backlog("toy")
    assert (backlog.pending_jobs, backlog.running_jobs, backlog.units) == (0, 0, 0.0)


LOST = {
    "the queue": ["pending:toy"],
    "the lanes": ["lined_up:toy", "lanes:toy:1", "lane:toy:1:even", "lane_units:toy:1"],
    "the sums": ["work:toy", "outstanding"],
    "the queue and its sums": ["pending:toy", "work:toy", "lined_up:toy", "lanes:toy:1"],
    "the list of queued jobs": ["jobs:queued"],
}


@pytest.mark.parametrize("what", LOST)
async def test_what_counts_jobs_is_mended_when_it_vanishes(
    crowd: RedisStore, redis: Any, prefix: str, what: str
) -> None:
    redis.delete(*(f"{prefix}:{name}" for name in LOST[what]))
    assert await mended(crowd) == 0
    backlog = await crowd.backlog("toy")
    assert (backlog.pending_jobs, backlog.pending_units) == (26, 260.0)
    assert (backlog.running_jobs, backlog.running_units) == (4, 40.0)
    drawn = set()
    while (held := await crowd.claim("toy", "w", idle=True)) is not None:
        drawn.add(held.record.id)
        await crowd.finish(held.lease, 1)
    assert len(drawn) == 26
    assert (await crowd.backlog("toy")).pending_units == 0


async def test_a_job_that_runs_is_found_again(crowd: RedisStore, redis: Any, prefix: str) -> None:
    """Without its lease it would run for ever if its worker died."""
    redis.delete(f"{prefix}:leases", f"{prefix}:running:toy")
    assert await mended(crowd) == 0
    assert (await crowd.backlog("toy")).running_jobs == 4
    assert redis.zcard(f"{prefix}:leases") == 4


@pytest.mark.parametrize("kept", [0.9, 0.6, 0.3])
async def test_whatever_redis_evicts_what_is_counted_is_drawn(
    own: Any, own_url: str, opened: Opened[Any], kept: float
) -> None:
    store = opened(RedisStore(JobsSettings(redis_url=own_url, redis_eviction="warn")))
    await store.announce_model(MODEL)
    base = own.info("memory")["used_memory"]
    for number in range(300):
        await submit(store, f"job{number}", ("even", "odd")[number % 2])
    for _ in range(10):
        await claim(store)
    own.config_set("maxmemory-policy", "allkeys-random")
    own.config_set("maxmemory", int(base + kept * (own.info("memory")["used_memory"] - base)))
    for number in range(10):
        own.set("more", number)  # each evicts a part of what is too much
    own.config_set("maxmemory", 0)
    await store.announce_model(MODEL)  # as workers do again and again
    await mended(store, 8)
    names = {key.decode().rpartition(":")[2] for key in own.keys("{sfumato}:job:*")}
    records = [await store.get(name) for name in names]
    queued = {record.id for record in records if record.status is JobStatus.QUEUED}
    backlog = await store.backlog("toy")
    assert backlog.pending_jobs <= len(queued)  # less if no list names them any more
    assert backlog.pending_units == pytest.approx(10.0 * backlog.pending_jobs)
    assert backlog.running_units == pytest.approx(10.0 * backlog.running_jobs)
    loads = await store.tenants.all()
    for load in loads:
        assert load.outstanding_units == pytest.approx(10.0 * load.open_jobs)
    assert sum(load.open_jobs for load in loads) >= backlog.pending_jobs + backlog.running_jobs
    drawn = set()
    while (held := await store.claim("toy", "w", idle=True)) is not None:
        drawn.add(held.record.id)
        await store.finish(held.lease, 1)
    assert len(drawn) == backlog.pending_jobs
    assert drawn <= queued


async def test_a_backlog_of_any_size_is_mended_a_part_at_a_time(
    crowd: RedisStore, redis: Any, prefix: str
) -> None:
    ghosts = {f"ghost{number}": 3e12 + number for number in range(5000)}
    redis.zadd(f"{prefix}:pending:toy", ghosts)
    assert 500 <= await mended(crowd, 1) < 5000
    async with asyncio.timeout(120):
        while await mended(crowd, 1):
            pass
    assert (await crowd.backlog("toy")).pending_jobs == 26
