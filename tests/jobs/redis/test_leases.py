"""Leases: what runs out, what is renewed, and jobs that end their workers."""

import asyncio

import pytest

from jobs.errors import StaleFence
from jobs.redis.store import RedisStore
from jobs.schema import JobStatus, Priority
from tests.jobs.conftest import OpenStore, RunOut
from tests.jobs.examples import checkpoint, claim, submit


async def suspect(store: RedisStore, run_out: RunOut, job_id: str) -> None:
    """Claim a job twice, each time by a worker that dies."""
    for _ in range(2):
        await claim(store)
        run_out()
        assert job_id in {found for found, _ in (await store.sweep()).requeued}


async def until_swept(store: RedisStore, job_id: str) -> None:
    async with asyncio.timeout(120):
        while all(job_id != found for found, _ in (await store.sweep()).requeued):
            await asyncio.sleep(0.01)


async def test_expired_lease_requeues_and_counts_a_death(open_store: OpenStore) -> None:
    store = open_store(lease_s=1.0)
    await submit(store, "a")
    held = await claim(store)
    await until_swept(store, "a")
    record = await store.get("a")
    assert (record.status, record.deaths) == (JobStatus.QUEUED, 1)
    assert (await store.renew([held.lease])).lost == {"a"}
    again = await claim(store)
    await store.checkpoint(again.lease, [checkpoint(1)])
    assert (await store.get("a")).deaths == 0


async def test_lease_from_before_the_clock_was_set_back_runs_out(open_store: OpenStore) -> None:
    store = open_store(lease_s=600.0)  # as if it had been given when the clock was minutes ahead
    await submit(store, "a")
    await claim(store)
    await until_swept(open_store(lease_s=1.0), "a")


async def test_renewed_lease_is_kept(open_store: OpenStore) -> None:
    store = open_store(lease_s=0.3)
    await submit(store, "a")
    held = await claim(store)
    for _ in range(10):
        await asyncio.sleep(0.05)
        assert (await store.renew([held.lease])).lost == frozenset()
        assert (await store.sweep()).requeued == ()


async def test_poison_job_runs_alone_then_fails_with_the_reason(
    open_store: OpenStore, run_out: RunOut
) -> None:
    store = open_store(suspect_wait_s=3600.0)
    await submit(store, "poison")
    await suspect(store, run_out, "poison")
    await submit(store, "neighbour")
    assert (await claim(store, idle=False)).record.id == "neighbour"
    assert await store.claim("toy", "w1", idle=False) is None
    last = await claim(store, idle=True)
    assert (last.record.id, last.alone) == ("poison", True)
    run_out()
    assert (await store.sweep()).failed == ("poison",)
    record = await store.get("poison")
    assert record.status is JobStatus.FAILED
    assert record.error is not None
    assert record.error.code == "worker_died"


async def test_a_suspect_job_makes_one_busy_worker_idle(
    open_store: OpenStore, run_out: RunOut
) -> None:
    store = open_store(lease_s=60.0, suspect_wait_s=0.0)
    patient = open_store(lease_s=60.0, suspect_wait_s=3600.0)
    await submit(store, "poison")
    await suspect(store, run_out, "poison")
    await submit(store, "next")
    assert (await claim(patient, "busy", idle=False)).record.id == "next"
    await submit(store, "later")
    assert await store.claim("toy", "busy", idle=False) is None  # it makes itself idle
    assert (await claim(store, "other", idle=False)).record.id == "later"  # others go on
    assert (await claim(store, "busy", idle=True)).alone


async def test_a_suspect_job_preempts_nothing(open_store: OpenStore, run_out: RunOut) -> None:
    store = open_store(park_after_s=0.0, suspect_wait_s=3600.0)
    await submit(store, "poison", priority=Priority.HIGH)
    await suspect(store, run_out, "poison")
    await submit(store, "a")
    held = await claim(store, idle=False)
    assert (await store.renew([held.lease], preemptible=1)).higher_waiting is None


@pytest.mark.parametrize("first", ["a sweep", "a renewal"])
async def test_an_outage_of_the_store_ends_no_lease(open_store: OpenStore, first: str) -> None:
    store = open_store(lease_s=0.2)
    leases = []
    for name in ("a", "b"):
        await submit(store, name)
        leases.append((await claim(store)).lease)
    await store.renew(leases)
    await asyncio.sleep(0.5)  # nobody could reach the store
    if first == "a renewal":
        await store.renew(leases[:1])
    assert (await store.sweep()).requeued == ()
    assert (await store.renew(leases)).lost == frozenset()


async def test_deadline_ends_a_job_wherever_it_is(store: RedisStore) -> None:
    late = 0
    while (held := await store.claim("toy", "w1", idle=True)) is None:  # late on a slow machine
        late += 1
        await submit(store, f"running{late}", deadline_s=0.1)
    await submit(store, "waiting", deadline_s=0.05)
    await asyncio.sleep(0.15)
    assert await store.claim("toy", "w1", idle=True) is None
    names = {"waiting", *(f"running{i + 1}" for i in range(late))}
    assert set((await store.sweep()).expired) == names
    assert (await store.get("waiting")).status is JobStatus.EXPIRED
    with pytest.raises(StaleFence):
        await store.finish(held.lease, 1)
    assert (await store.backlog("toy")).units == 0
