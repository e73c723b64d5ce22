"""The store: every transition, every refusal."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any

import pytest

from jobs.errors import (
    BacklogFull,
    IdempotencyConflict,
    JobNotFound,
    ResultExpired,
    StaleFence,
    StoreFull,
)
from jobs.fleet import WorkerEntry
from jobs.redis.store import RedisStore
from jobs.schema import JobError, JobStatus
from jobs.store import Event, Idempotency, Lease, Preview, Progress, Progressed
from tests.jobs.conftest import OpenStore, RunOut
from tests.jobs.examples import MODEL, checkpoint, claim, picture, spec, submit, work


async def history(store: RedisStore, job_id: str, after: str | None = None) -> list[Event]:
    async with asyncio.timeout(60):
        return [event async for event in store.events(job_id, after)]


async def test_created_job_is_queued_with_its_work(store: RedisStore) -> None:
    wanted = spec(num_images=2, guidance_scale=3.0)
    created = await store.create("a", wanted, work(wanted))
    assert not created.replayed
    assert created.record.status is JobStatus.QUEUED
    assert created.record.spec == wanted
    assert created.record.units == 40
    backlog = await store.backlog("toy")
    assert (backlog.pending_jobs, backlog.pending_units) == (1, 40)


async def test_concurrent_claims_never_share_a_job(store: RedisStore) -> None:
    for i in range(20):
        await submit(store, f"j{i}")
    claims = await asyncio.gather(*(store.claim("toy", f"w{i}", idle=True) for i in range(40)))
    ids = [held.record.id for held in claims if held]
    assert sorted(ids) == sorted(f"j{i}" for i in range(20))


async def test_life_of_a_job(store: RedisStore) -> None:
    await submit(store, "a")
    held = await claim(store)
    assert held.record.status is JobStatus.RUNNING
    assert held.record.attempts == 1
    assert await store.progress([Progress(held.lease, 4, 4.0, 4, 1.5)]) == Progressed()
    running = await store.backlog("toy")
    assert (running.running_jobs, running.running_units, running.pending_units) == (1, 6, 0)
    assert await store.preview([Preview(held.lease, 0, 4, "image/png", b"blurry")]) == frozenset()
    assert await store.latest_preview("a") == ("image/png", b"blurry")
    await store.checkpoint(held.lease, [checkpoint(4)])
    await store.add_image(held.lease, picture())
    done = await store.finish(held.lease, 10)
    assert done.status is JobStatus.SUCCEEDED
    assert (done.step, done.units_done, done.evaluations) == (10, 10, 10)
    assert done.finished_at is not None
    assert done.started_at is not None
    assert done.finished_at >= done.started_at >= done.created_at
    assert (await store.image("a", 0)).data == b"picture"
    assert (await store.backlog("toy")).units == 0
    kinds = [event.kind for event in await history(store, "a")]
    assert kinds == ["status", "status", "progress", "preview", "result"]
    totals = await store.totals()
    assert totals.ended["succeeded"] == 1
    assert totals.results_bytes == len(b"picture")


WRITES: dict[str, Callable[[RedisStore, Lease], Awaitable[object]]] = {
    "checkpoint": lambda store, lease: store.checkpoint(lease, [checkpoint(3)]),
    "add_image": lambda store, lease: store.add_image(lease, picture()),
    "finish": lambda store, lease: store.finish(lease, 1),
    "fail": lambda store, lease: store.fail(lease, JobError(code="internal", detail="no")),
    "requeue": lambda store, lease: store.requeue(lease, "drain"),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("how", ["canceled", "reclaimed", "finished", "deleted"])
async def test_stale_fence_is_refused(store: RedisStore, write: str, how: str) -> None:
    await submit(store, "a")
    stale = (await claim(store)).lease
    if how == "canceled":
        await store.cancel("a")
    elif how == "reclaimed":
        await store.requeue(stale, "drain")
        await claim(store, "w2")
    elif how == "finished":
        await store.finish(stale, 1)
    else:
        await store.delete("a")
    before = None if how == "deleted" else await store.get("a")
    with pytest.raises(StaleFence):
        await WRITES[write](store, stale)
    assert (await store.progress([Progress(stale, 1, 1.0, 1)])).lost == {"a"}
    assert await store.preview([Preview(stale, 0, 1, "image/png", b"x")]) == {"a"}
    assert (await store.renew([stale])).lost == {"a"}
    if before is not None:
        assert await store.get("a") == before


async def test_checkpoint_survives_requeue_and_is_replaced(store: RedisStore) -> None:
    await submit(store, "a", num_images=2)
    held = await claim(store)
    await store.checkpoint(held.lease, [checkpoint(3), checkpoint(2, image=1)])
    await store.checkpoint(held.lease, [checkpoint(5)])
    await store.add_image(held.lease, picture(1))
    await store.requeue(held.lease, "drain")
    again = await claim(store, "w2")
    assert again.checkpoints == (checkpoint(5),)
    assert again.finished == (1,)
    assert again.record.attempts == 2


async def test_idempotency_key_makes_one_job(store: RedisStore) -> None:
    wanted = spec()
    key = Idempotency("key", "body")
    made = await asyncio.gather(
        *(store.create(f"j{i}", wanted, 10, idempotency=key) for i in range(50))
    )
    assert len({created.record.id for created in made}) == 1
    assert sum(not created.replayed for created in made) == 1
    with pytest.raises(IdempotencyConflict):
        await store.create("other", wanted, 10, idempotency=Idempotency("key", "another"))
    assert (await store.backlog("toy")).pending_jobs == 1


async def test_backlog_bound_says_when_to_come_back(open_store: OpenStore) -> None:
    store = open_store(max_backlog_units=25.0)
    await submit(store, "a")
    await submit(store, "b")
    await store.announce_worker(WorkerEntry("w", "h", 1, "toy", "torch", 16, 0, 2.5, 0.0))
    with pytest.raises(BacklogFull) as refused:
        await submit(store, "c")
    assert refused.value.retry_after_s == pytest.approx(2.0)
    with pytest.raises(JobNotFound):
        await store.get("c")


async def test_no_admission_above_high_water(store: RedisStore, open_store: OpenStore) -> None:
    await submit(store, "a")
    held = await claim(store)
    full = open_store(memory_high_water_bytes=1)
    with pytest.raises(StoreFull):
        await submit(full, "b")
    await full.add_image(held.lease, picture())
    assert (await full.finish(held.lease, 1)).status is JobStatus.SUCCEEDED


async def test_results_are_bounded_oldest_first(open_store: OpenStore) -> None:
    store = open_store(max_results_bytes=25)
    for name in ("a", "b", "c"):
        await submit(store, name)
        held = await claim(store)
        await store.add_image(held.lease, picture(data=b"0123456789"))
        await store.finish(held.lease, 1)
    assert (await store.sweep()).results_dropped == 1
    with pytest.raises(ResultExpired):
        await store.image("a", 0)
    assert (await store.get("a")).status is JobStatus.SUCCEEDED
    assert (await store.image("b", 0)).data == b"0123456789"
    assert (await store.totals()).results_bytes == 20


async def test_old_records_are_deleted(open_store: OpenStore) -> None:
    store = open_store(record_ttl_s=0.01)
    await submit(store, "a")
    await store.cancel("a")
    await asyncio.sleep(0.05)
    await store.sweep()
    with pytest.raises(JobNotFound):
        await store.get("a")


async def test_only_the_newest_previews_are_kept(
    open_store: OpenStore, redis: Any, prefix: str
) -> None:
    store = open_store(previews_kept=2)
    await submit(store, "a")
    held = await claim(store)
    for step in range(5):
        await store.preview([Preview(held.lease, 0, step, "image/png", bytes([step]))])
    entries = [fields for _, fields in redis.xrange(f"{prefix}:events:a")]
    assert [e[b"step"] for e in entries if e[b"kind"] == b"preview"] == [b"3", b"4"]
    await store.cancel("a")
    kept = [event.data["step"] for event in await history(store, "a") if event.kind == "preview"]
    assert kept == [4]


async def test_a_model_is_forgotten_once_or_twice(store: RedisStore) -> None:
    await store.announce_model(MODEL)
    assert await store.models() == (MODEL,)
    for _ in range(2):
        await store.forget_model(MODEL.name)
        assert await store.models() == ()


async def test_creation_sent_twice_counts_once(store: RedisStore) -> None:
    for _ in range(2):  # as a client library does whose first answer was lost
        await submit(store, "a")
    backlog = await store.backlog("toy")
    assert (backlog.pending_jobs, backlog.pending_units) == (1, 10.0)
    assert (await store.totals()).created == 1
    await claim(store)
    await submit(store, "a")
    assert (await store.get("a")).status is JobStatus.RUNNING


async def test_tenants_lists_hold_their_own_jobs(store: RedisStore) -> None:
    for number in range(3):
        await submit(store, f"a{number}", tenant="a")
        await submit(store, f"b{number}", tenant="b")
    await store.cancel("a1")
    await claim(store)  # a0 runs

    async def ids(tenant: str | None, status: JobStatus | None = None, **page: Any) -> list[str]:
        found = await store.list(tenant=tenant, status=status, **page)
        return [record.id for record in found.records]

    assert await ids("a") == ["a2", "a1", "a0"]
    assert await ids("b") == ["b2", "b1", "b0"]
    assert await ids(None) == ["b2", "a2", "b1", "a1", "b0", "a0"]
    assert await ids("a", JobStatus.QUEUED) == ["a2"]
    assert await ids("a", JobStatus.RUNNING) == ["a0"]
    assert await ids("a", JobStatus.CANCELED) == ["a1"]
    assert await ids("nobody") == []
    first = await store.list(tenant="a", limit=2)
    assert await ids("a", limit=2, cursor=first.cursor) == ["a0"]
    await store.delete("a2")
    assert await ids("a") == ["a1", "a0"]
    assert await ids("a", JobStatus.CANCELED) == ["a1"]


async def test_a_deleted_job_frees_its_idempotency_key(store: RedisStore) -> None:
    await store.create("a", spec(), 10, idempotency=Idempotency("key", "body"))
    await store.delete("a")
    again = await store.create("b", spec(), 10, idempotency=Idempotency("key", "another"))
    assert again.record.id == "b"


async def test_latency_counts_every_way_to_end(open_store: OpenStore, run_out: RunOut) -> None:
    store, began = open_store(suspect_deaths=9, max_deaths=1), monotonic()
    for job_id in ("drawn", "broken", "unwanted", "forgotten", "dead"):
        await submit(store, job_id)
    drawn = await claim(store)
    await store.add_image(drawn.lease, picture())
    await store.finish(drawn.lease, 10)
    await store.fail((await claim(store)).lease, JobError(code="non_finite", detail="x"))
    for _ in range(2):  # the second changes nothing and is not counted
        assert (await store.cancel("unwanted")).status is JobStatus.CANCELED
    await store.delete("forgotten")
    assert (await claim(store)).record.id == "dead"
    run_out()
    await submit(store, "late", deadline_s=0.01)
    await asyncio.sleep(0.05)
    swept = await store.sweep()
    assert (swept.failed, swept.expired) == (("dead",), ("late",))
    counts = {each.outcome: each.buckets[-1] for each in await store.latencies("toy")}
    assert counts == {
        "succeeded": ("+Inf", 1), "failed": ("+Inf", 2), "canceled": ("+Inf", 2),
        "expired": ("+Inf", 1),
    }  # fmt: skip
    failures = (await store.totals()).failures
    assert {code for code, count in failures.items() if count} == {"non_finite", "worker_died"}
    for each in await store.latencies("toy"):
        numbers = [count for _, count in each.buckets]
        assert numbers == sorted(numbers)
        assert 0 < each.sum_s <= numbers[-1] * (monotonic() - began)
    assert [each.buckets[-1][1] for each in await store.latencies("other")] == [0, 0, 0, 0]


async def test_trace_context_stays_with_the_job_and_its_latency(store: RedisStore) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    for job_id, flags in (("seen", "01"), ("unseen", "00")):
        wanted, parent = spec(), f"00-{trace}-b7ad6b7169203331-{flags}"
        created = await store.create(job_id, wanted, work(wanted), traceparent=parent)
        assert created.record.traceparent == parent
        held = await claim(store)
        assert held.record.traceparent == parent
        await store.add_image(held.lease, picture())
        await (store.finish(held.lease, 10) if flags == "01" else store.cancel(job_id))
    shown = {each.outcome: list(each.exemplars.values()) for each in await store.latencies("toy")}
    assert shown["canceled"] == []
    (exemplar,) = shown["succeeded"]
    record = await store.get("seen")
    assert record.finished_at is not None
    assert exemplar.trace_id == trace
    assert exemplar.seconds == pytest.approx(record.finished_at - record.created_at, abs=1e-4)
    assert exemplar.at == pytest.approx(record.finished_at, abs=1e-4)


async def test_a_tenants_jobs_are_purged_in_batches_and_others_stay(store: RedisStore) -> None:
    await submit(store, "other", tenant="b")
    for number in range(5):
        await submit(store, f"a{number}", tenant="a")
    held = await claim(store)
    while held.record.spec.tenant != "a":
        held = await claim(store)
    await store.add_image(held.lease, picture())
    await store.finish(held.lease, 1)
    await claim(store)
    assert [await store.purge("a", 2) for _ in range(4)] == [2, 2, 1, 0]
    assert (await store.list(tenant="a")).records == ()
    assert [record.id for record in (await store.list()).records] == ["other"]
    assert (await store.totals()).results_bytes == 0
    assert (await store.tenants.get("a")).open_jobs == 0
