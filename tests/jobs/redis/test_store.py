"""The contract of a store: every transition, every refusal."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from jobs.errors import (
    BacklogFull,
    IdempotencyConflict,
    InvalidCursor,
    JobNotFound,
    ResultExpired,
    StaleFence,
    StoreFull,
)
from jobs.schema import JobError, JobStatus, Priority
from jobs.store import Claim, Event, Idempotency, JobStore, Lease, Preview, Progress, WorkerEntry
from tests.jobs.conftest import MakeStore
from tests.jobs.examples import MODEL, checkpoint, picture, spec, work


async def submit(store: JobStore, job_id: str, **fields: Any) -> str:
    wanted = spec(**fields)
    await store.create(job_id, wanted, work(wanted))
    return job_id


async def claimed(store: JobStore, worker: str = "w1", *, idle: bool = True) -> Claim:
    claim = await store.claim("toy", worker, idle=idle)
    assert claim is not None
    return claim


async def history(store: JobStore, job_id: str, after: str | None = None) -> list[Event]:
    async with asyncio.timeout(30):
        return [event async for event in store.events(job_id, after)]


async def until_swept(store: JobStore, job_id: str) -> None:
    async with asyncio.timeout(30):
        while all(job_id != found for found, _ in (await store.sweep()).requeued):
            await asyncio.sleep(0.01)


async def test_created_job_is_queued_with_its_work(store: JobStore) -> None:
    wanted = spec(num_images=2, guidance_scale=3.0)
    created = await store.create("a", wanted, work(wanted))
    assert not created.replayed
    assert created.record.status is JobStatus.QUEUED
    assert created.record.spec == wanted
    assert created.record.units == 40
    backlog = await store.backlog("toy")
    assert (backlog.pending_jobs, backlog.pending_units) == (1, 40)


async def test_unknown_job_is_not_found(store: JobStore) -> None:
    for call in (store.get("x"), store.cancel("x"), store.delete("x"), store.image("x", 0)):
        with pytest.raises(JobNotFound):
            await call
    with pytest.raises(JobNotFound):
        await history(store, "x")


async def test_claim_follows_class_then_interruption_then_age(store: JobStore) -> None:
    await submit(store, "old")
    first = await claimed(store)
    await submit(store, "low", priority=Priority.LOW)
    await submit(store, "new")
    await submit(store, "high", priority=Priority.HIGH)
    await store.requeue(first.lease, "drain")
    order = [(await claimed(store)).record.id for _ in range(4)]
    assert order == ["high", "old", "new", "low"]
    assert await store.claim("toy", "w1", idle=True) is None


async def test_concurrent_claims_never_share_a_job(store: JobStore) -> None:
    for i in range(20):
        await submit(store, f"j{i}")
    claims = await asyncio.gather(*(store.claim("toy", f"w{i}", idle=True) for i in range(40)))
    ids = [claim.record.id for claim in claims if claim]
    assert sorted(ids) == sorted(f"j{i}" for i in range(20))


async def test_life_of_a_job(store: JobStore) -> None:
    await submit(store, "a")
    claim = await claimed(store)
    assert claim.record.status is JobStatus.RUNNING
    assert claim.record.attempts == 1
    assert await store.progress([Progress(claim.lease, 4, 4.0, 4, 1.5)]) == frozenset()
    running = await store.backlog("toy")
    assert (running.running_jobs, running.running_units, running.pending_units) == (1, 6, 0)
    assert await store.preview([Preview(claim.lease, 0, 4, "image/png", b"blurry")]) == frozenset()
    assert await store.latest_preview("a") == ("image/png", b"blurry")
    await store.checkpoint(claim.lease, [checkpoint(4)])
    await store.add_image(claim.lease, picture())
    done = await store.finish(claim.lease, 10)
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


WRITES: dict[str, Callable[[JobStore, Lease], Awaitable[object]]] = {
    "checkpoint": lambda store, lease: store.checkpoint(lease, [checkpoint(3)]),
    "add_image": lambda store, lease: store.add_image(lease, picture()),
    "finish": lambda store, lease: store.finish(lease, 1),
    "fail": lambda store, lease: store.fail(lease, JobError(code="internal", detail="no")),
    "requeue": lambda store, lease: store.requeue(lease, "drain"),
}


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("how", ["canceled", "reclaimed", "finished", "deleted"])
async def test_stale_fence_is_refused(store: JobStore, write: str, how: str) -> None:
    await submit(store, "a")
    stale = (await claimed(store)).lease
    if how == "canceled":
        await store.cancel("a")
    elif how == "reclaimed":
        await store.requeue(stale, "drain")
        await claimed(store, "w2")
    elif how == "finished":
        await store.finish(stale, 1)
    else:
        await store.delete("a")
    before = None if how == "deleted" else await store.get("a")
    with pytest.raises(StaleFence):
        await WRITES[write](store, stale)
    assert await store.progress([Progress(stale, 1, 1.0, 1)]) == {"a"}
    assert await store.preview([Preview(stale, 0, 1, "image/png", b"x")]) == {"a"}
    assert (await store.renew([stale])).lost == {"a"}
    if before is not None:
        assert await store.get("a") == before


async def test_checkpoint_survives_requeue_and_is_replaced(store: JobStore) -> None:
    await submit(store, "a", num_images=2)
    claim = await claimed(store)
    await store.checkpoint(claim.lease, [checkpoint(3), checkpoint(2, image=1)])
    await store.checkpoint(claim.lease, [checkpoint(5)])
    await store.add_image(claim.lease, picture(1))
    await store.requeue(claim.lease, "drain")
    again = await claimed(store, "w2")
    assert again.checkpoints == (checkpoint(5),)
    assert again.finished == (1,)
    assert again.record.attempts == 2


async def test_expired_lease_requeues_and_counts_a_death(make_store: MakeStore) -> None:
    store = make_store(lease_s=0.2)
    await submit(store, "a")
    claim = await claimed(store)
    await until_swept(store, "a")
    record = await store.get("a")
    assert (record.status, record.deaths) == (JobStatus.QUEUED, 1)
    assert (await store.renew([claim.lease])).lost == {"a"}
    again = await claimed(store)
    await store.checkpoint(again.lease, [checkpoint(1)])
    assert (await store.get("a")).deaths == 0


async def test_lease_from_before_the_clock_was_set_back_runs_out(make_store: MakeStore) -> None:
    store = make_store(lease_s=600.0)  # as if it had been given when the clock was minutes ahead
    await submit(store, "a")
    await claimed(store)
    await until_swept(make_store(lease_s=0.2), "a")


async def test_renewed_lease_is_kept(make_store: MakeStore) -> None:
    store = make_store(lease_s=0.3)
    await submit(store, "a")
    claim = await claimed(store)
    for _ in range(10):
        await asyncio.sleep(0.05)
        assert (await store.renew([claim.lease])).lost == frozenset()
        assert (await store.sweep()).requeued == ()


async def test_poison_job_runs_alone_then_fails_with_the_reason(make_store: MakeStore) -> None:
    store = make_store(lease_s=0.1)
    await submit(store, "poison")
    for _ in range(2):
        await claimed(store)
        await until_swept(store, "poison")
    await submit(store, "neighbour")
    assert (await claimed(store, idle=False)).record.id == "neighbour"
    assert await store.claim("toy", "w1", idle=False) is None
    last = await claimed(store, idle=True)
    assert (last.record.id, last.alone) == ("poison", True)
    async with asyncio.timeout(30):
        while "poison" not in (await store.sweep()).failed:
            await asyncio.sleep(0.02)
    record = await store.get("poison")
    assert record.status is JobStatus.FAILED
    assert record.error is not None
    assert record.error.code == "worker_died"


async def test_a_suspect_job_makes_one_busy_worker_idle(make_store: MakeStore) -> None:
    deadly = make_store(lease_s=0.2)
    store = make_store(lease_s=60.0, suspect_wait_s=0.0)
    patient = make_store(lease_s=60.0, suspect_wait_s=60.0)
    await submit(deadly, "poison")
    for _ in range(2):
        await claimed(deadly)
        await until_swept(deadly, "poison")
    await submit(store, "next")
    assert (await claimed(patient, "busy", idle=False)).record.id == "next"
    await submit(store, "later")
    assert await store.claim("toy", "busy", idle=False) is None  # it makes itself idle
    assert (await claimed(store, "other", idle=False)).record.id == "later"  # others go on
    assert (await claimed(store, "busy", idle=True)).alone


async def test_a_job_that_a_full_worker_would_not_get_parks_nothing(make_store: MakeStore) -> None:
    store = make_store(lease_s=0.1, park_after_s=0.0)
    await submit(store, "poison", priority=Priority.HIGH)
    for _ in range(2):
        await claimed(store)
        await until_swept(store, "poison")
    await submit(store, "a")
    claim = await claimed(store, idle=False)
    assert (await store.renew([claim.lease], preemptible=1)).higher_waiting is None


async def test_outage_of_the_store_is_nobodys_death(make_store: MakeStore) -> None:
    store = make_store(lease_s=0.2)
    await submit(store, "a")
    claim = await claimed(store)
    await store.renew([claim.lease])
    await asyncio.sleep(0.5)  # nobody could reach the store
    assert (await store.sweep()).requeued == ()
    assert (await store.renew([claim.lease])).lost == frozenset()


async def test_who_renews_first_after_an_outage_is_not_the_only_one_to_live(
    make_store: MakeStore,
) -> None:
    store = make_store(lease_s=0.2)
    leases = []
    for name in ("a", "b"):
        await submit(store, name)
        leases.append((await claimed(store)).lease)
    await store.renew(leases)
    await asyncio.sleep(0.5)  # nobody could reach the store
    await store.renew(leases[:1])
    assert (await store.sweep()).requeued == ()
    assert (await store.renew(leases[1:])).lost == frozenset()


async def test_deadline_ends_a_job_wherever_it_is(store: JobStore) -> None:
    late = 0
    while (claim := await store.claim("toy", "w1", idle=True)) is None:  # late on a slow machine
        late += 1
        await submit(store, f"running{late}", deadline_s=0.1)
    await submit(store, "waiting", deadline_s=0.05)
    await asyncio.sleep(0.15)
    assert await store.claim("toy", "w1", idle=True) is None
    names = {"waiting", *(f"running{i + 1}" for i in range(late))}
    assert set((await store.sweep()).expired) == names
    assert (await store.get("waiting")).status is JobStatus.EXPIRED
    with pytest.raises(StaleFence):
        await store.finish(claim.lease, 1)
    assert (await store.backlog("toy")).units == 0


async def test_cancel_is_final_and_repeatable(store: JobStore) -> None:
    await submit(store, "a")
    assert (await store.cancel("a")).status is JobStatus.CANCELED
    assert (await store.cancel("a")).status is JobStatus.CANCELED
    assert await store.claim("toy", "w1", idle=True) is None
    assert (await store.totals()).ended["canceled"] == 1


async def test_deleted_job_leaves_nothing(store: JobStore) -> None:
    await submit(store, "a")
    claim = await claimed(store)
    await store.add_image(claim.lease, picture())
    await store.finish(claim.lease, 1)
    await store.delete("a")
    with pytest.raises(JobNotFound):
        await store.get("a")
    assert (await store.list()).records == ()
    assert (await store.totals()).results_bytes == 0


async def test_failed_job_keeps_its_reason(store: JobStore) -> None:
    await submit(store, "a")
    claim = await claimed(store)
    error = JobError(code="non_finite", detail="the model returned NaN at row 3")
    assert (await store.fail(claim.lease, error)).error == error


async def test_idempotency_key_makes_one_job(store: JobStore) -> None:
    wanted = spec()
    made = await asyncio.gather(
        *(
            store.create(f"j{i}", wanted, 10, idempotency=Idempotency("key", "body"))
            for i in range(50)
        )
    )
    assert len({created.record.id for created in made}) == 1
    assert sum(not created.replayed for created in made) == 1
    with pytest.raises(IdempotencyConflict):
        await store.create("other", wanted, 10, idempotency=Idempotency("key", "another"))
    assert (await store.backlog("toy")).pending_jobs == 1


async def test_backlog_bound_says_when_to_come_back(make_store: MakeStore) -> None:
    store = make_store(max_backlog_units=25.0)
    await submit(store, "a")
    await submit(store, "b")
    await store.announce_worker(WorkerEntry("w", "h", 1, "toy", "torch", 16, 0, 2.5, 0.0))
    with pytest.raises(BacklogFull) as refused:
        await submit(store, "c")
    assert refused.value.retry_after_s == pytest.approx(2.0)
    with pytest.raises(JobNotFound):
        await store.get("c")


async def test_admission_closes_above_the_high_water_mark(make_store: MakeStore) -> None:
    store = make_store()
    await submit(store, "a")
    claim = await claimed(store)
    full = make_store(memory_high_water_bytes=1)
    with pytest.raises(StoreFull):
        await submit(full, "b")
    await full.add_image(claim.lease, picture())
    assert (await full.finish(claim.lease, 1)).status is JobStatus.SUCCEEDED


async def test_results_are_bounded_oldest_first(make_store: MakeStore) -> None:
    store = make_store(max_results_bytes=25)
    for name in ("a", "b", "c"):
        await submit(store, name)
        claim = await claimed(store)
        await store.add_image(claim.lease, picture(data=b"0123456789"))
        await store.finish(claim.lease, 1)
    assert (await store.sweep()).results_dropped == 1
    with pytest.raises(ResultExpired):
        await store.image("a", 0)
    assert (await store.get("a")).status is JobStatus.SUCCEEDED
    assert (await store.image("b", 0)).data == b"0123456789"
    assert (await store.totals()).results_bytes == 20


async def test_old_records_are_forgotten(make_store: MakeStore) -> None:
    store = make_store(record_ttl_s=0.01)
    await submit(store, "a")
    await store.cancel("a")
    await asyncio.sleep(0.05)
    await store.sweep()
    with pytest.raises(JobNotFound):
        await store.get("a")


async def test_pages_of_jobs_are_stable_under_inserts(store: JobStore) -> None:
    for i in range(5):
        await submit(store, f"j{i}")
    page = await store.list(limit=2)
    await submit(store, "later")
    seen = [record.id for record in page.records]
    while page.cursor:
        page = await store.list(limit=2, cursor=page.cursor)
        seen += [record.id for record in page.records]
    assert seen == ["j4", "j3", "j2", "j1", "j0"]
    await store.cancel("j2")
    only = await store.list(status=JobStatus.CANCELED)
    assert [record.id for record in only.records] == ["j2"]
    with pytest.raises(InvalidCursor):
        await store.list(cursor="nonsense")


async def test_queue_position_counts_work_ahead(store: JobStore) -> None:
    for i in range(3):
        await submit(store, f"j{i}")
    place = await store.queue_position(await store.get("j2"))
    assert place is not None
    assert (place.position, place.units_ahead) == (3, 20)
    await claimed(store)
    assert await store.queue_position(await store.get("j0")) is None


async def test_events_resume_after_an_id(store: JobStore) -> None:
    await submit(store, "a")
    claim = await claimed(store)
    for step in range(1, 4):
        await store.progress([Progress(claim.lease, step, float(step), step)])
    await store.add_image(claim.lease, picture())
    await store.finish(claim.lease, 10)
    everything = await history(store, "a")
    assert await history(store, "a", everything[2].id) == everything[3:]
    assert await history(store, "a", "0-1") == everything
    with pytest.raises(InvalidCursor):
        await history(store, "a", "nonsense")


async def test_listener_hears_live(store: JobStore) -> None:
    await submit(store, "a")
    heard = asyncio.create_task(history(store, "a"))
    claim = await claimed(store)
    await store.fail(claim.lease, JobError(code="internal", detail="x"))
    assert [event.kind for event in await heard] == ["status", "status", "result"]


async def test_only_the_newest_previews_are_kept(make_store: MakeStore) -> None:
    store = make_store(previews_kept=2)
    await submit(store, "a")
    claim = await claimed(store)
    for step in range(5):
        await store.preview([Preview(claim.lease, 0, step, "image/png", bytes([step]))])
    await store.cancel("a")
    kept = [event.data["step"] for event in await history(store, "a") if event.kind == "preview"]
    assert kept == [3, 4]


async def test_workers_are_live_until_they_retire(store: JobStore) -> None:
    worker = WorkerEntry("w", "host", 1, "toy", "torch", 16, 2, 30.5, 1.0)
    await store.announce_worker(worker)
    assert await store.workers() == (worker,)
    await store.retire_worker("w")
    assert await store.workers() == ()


async def test_catalogue_outlives_workers(store: JobStore) -> None:
    await store.announce_model(MODEL)
    assert await store.models() == (MODEL,)
    for _ in range(2):
        await store.forget_model(MODEL.name)
        assert await store.models() == ()


async def test_creation_sent_twice_counts_once(store: JobStore) -> None:
    for _ in range(2):  # as a client library does whose first answer was lost
        await submit(store, "a")
    backlog = await store.backlog("toy")
    assert (backlog.pending_jobs, backlog.pending_units) == (1, 10.0)
    assert (await store.totals()).created == 1
    await claimed(store)
    await submit(store, "a")
    assert (await store.get("a")).status is JobStatus.RUNNING


async def test_events_after_the_result_are_none(store: JobStore) -> None:
    await submit(store, "a")
    await store.cancel("a")
    last = (await history(store, "a"))[-1]
    assert last.kind == "result"
    assert await history(store, "a", last.id) == []


async def test_tenants_lists_hold_their_own_jobs(store: JobStore) -> None:
    for number in range(3):
        await submit(store, f"a{number}", tenant="a")
        await submit(store, f"b{number}", tenant="b")
    await store.cancel("a1")
    await claimed(store)  # a0 runs

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


async def test_an_idempotency_key_is_its_tenants_own(store: JobStore) -> None:
    for tenant in ("a", "b"):
        key = Idempotency("same", tenant)
        await store.create(f"{tenant}1", spec(tenant=tenant), 10, idempotency=key)
        again = await store.create(f"{tenant}2", spec(tenant=tenant), 10, idempotency=key)
        assert (again.record.id, again.replayed) == (f"{tenant}1", True)


async def test_a_deleted_job_frees_its_idempotency_key(store: JobStore) -> None:
    await store.create("a", spec(), 10, idempotency=Idempotency("key", "body"))
    await store.delete("a")
    again = await store.create("b", spec(), 10, idempotency=Idempotency("key", "another"))
    assert again.record.id == "b"


async def test_latency_counts_every_way_to_end(make_store: MakeStore) -> None:
    store = make_store(suspect_deaths=9, max_deaths=1, lease_s=0.2)
    for job_id in ("drawn", "broken", "unwanted", "forgotten", "dead"):
        await submit(store, job_id)
    drawn = await claimed(store)
    await store.add_image(drawn.lease, picture())
    await store.finish(drawn.lease, 10)
    await store.fail((await claimed(store)).lease, JobError(code="non_finite", detail="x"))
    await store.cancel("unwanted")
    await store.delete("forgotten")
    assert (await claimed(store)).record.id == "dead"
    await submit(store, "late", deadline_s=0.01)
    async with asyncio.timeout(30):
        while not (totals := await store.totals()).failures["worker_died"] or (
            not totals.ended["expired"]
        ):
            await store.sweep()
            await asyncio.sleep(0.02)
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
        assert 0 < each.sum_s < 10
    assert [each.buckets[-1][1] for each in await store.latencies("other")] == [0, 0, 0, 0]


async def test_trace_context_stays_with_the_job_and_its_latency(store: JobStore) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    for job_id, flags in (("seen", "01"), ("unseen", "00")):
        wanted, parent = spec(), f"00-{trace}-b7ad6b7169203331-{flags}"
        created = await store.create(job_id, wanted, work(wanted), traceparent=parent)
        assert created.record.traceparent == parent
        claim = await claimed(store)
        assert claim.record.traceparent == parent
        await store.add_image(claim.lease, picture())
        await (store.finish(claim.lease, 10) if flags == "01" else store.cancel(job_id))
    shown = {each.outcome: list(each.exemplars.values()) for each in await store.latencies("toy")}
    assert shown["canceled"] == []
    (exemplar,) = shown["succeeded"]
    record = await store.get("seen")
    assert record.finished_at is not None
    assert exemplar.trace_id == trace
    assert exemplar.seconds == pytest.approx(record.finished_at - record.created_at, abs=1e-4)
    assert exemplar.at == pytest.approx(record.finished_at, abs=1e-4)


async def test_a_tenants_jobs_are_purged_in_batches_and_others_stay(store: JobStore) -> None:
    await submit(store, "other", tenant="b")
    for number in range(5):
        await submit(store, f"a{number}", tenant="a")
    held = await claimed(store)
    while held.record.spec.tenant != "a":
        held = await claimed(store)
    await store.add_image(held.lease, picture())
    await store.finish(held.lease, 1)
    await claimed(store)
    assert [await store.purge("a", 2) for _ in range(4)] == [2, 2, 1, 0]
    assert (await store.list(tenant="a")).records == ()
    assert [record.id for record in (await store.list()).records] == ["other"]
    assert (await store.totals()).results_bytes == 0
    assert (await store.tenants.get("a")).open_jobs == 0
