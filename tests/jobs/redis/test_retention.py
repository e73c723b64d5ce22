"""What jobs leave in Redis: counted, bounded, and gone in the end."""

import asyncio
from typing import Any

import pytest

from jobs.errors import JobNotFound, ResultExpired
from jobs.outbox import DeliveryTerms
from jobs.redis.store import RedisStore
from jobs.schema import JobError
from jobs.store import Claim, Idempotency, Preview, Progress
from jobs.webhook import Webhook
from tests.jobs.conftest import OpenStore
from tests.jobs.examples import checkpoint, claim, picture, spec, submit, work

WEBHOOK = Webhook(url="https://shop.example/hook")
TERMS = DeliveryTerms(60.0, 5, limit_of_tenant=9, limit_of_receiver=9, limit_of_probes=9)
FOR_GOOD = {
    "audit", "fence", "latency:toy", "preview_bytes", "record_bytes", "result_bytes", "seen", "seq",
    "totals", "virtual:toy", "work:toy",
}  # fmt: skip
"""Keys that jobs leave for good; their number does not grow with that of the jobs."""


def preview(held: Claim, step: int, size: int = 6) -> Preview:
    return Preview(held.lease, 0, step, "image/png", bytes([step % 256]) * size)


async def drawn(store: RedisStore, job_id: str, *, size: int = 6, **options: Any) -> Claim:
    """Submit and claim a job that then shows three previews."""
    await submit(store, job_id, **options)
    held = await claim(store)
    for step in range(3):
        await store.progress([Progress(held.lease, step, float(step), step)])
        await store.preview([preview(held, step, size)])
    return held


async def end(store: RedisStore, held: Claim, how: str) -> None:
    match how:
        case "succeeded":
            await store.add_image(held.lease, picture())
            await store.finish(held.lease, 10)
        case "failed":
            await store.fail(held.lease, JobError(code="internal", detail="no"))
        case "canceled":
            await store.cancel(held.record.id)
        case "requeued":
            await store.requeue(held.lease, "drain")


@pytest.mark.parametrize("how", ["succeeded", "failed", "canceled", "requeued"])
async def test_a_job_that_leaves_its_worker_keeps_its_newest_preview(
    store: RedisStore, redis: Any, prefix: str, how: str
) -> None:
    held = await drawn(store, "a")
    await end(store, held, how)
    events = redis.xrange(f"{prefix}:events:a")
    shown = [fields[b"step"] for _, fields in events if fields[b"kind"] == b"preview"]
    assert shown == [b"2"]
    assert sum(fields[b"kind"] == b"progress" for _, fields in events) == 3
    assert await store.latest_preview("a") == ("image/png", bytes([2]) * 6)
    if how == "requeued":  # the next worker goes on with the same stream
        again = await claim(store)
        await store.preview([preview(again, 3)])
        assert await store.latest_preview("a") == ("image/png", bytes([3]) * 6)


@pytest.mark.parametrize("how", ["succeeded", "failed", "canceled"])
async def test_the_newest_preview_is_counted_and_goes_with_the_results(
    open_store: OpenStore, how: str
) -> None:
    store = open_store(result_ttl_s=0.05)
    await end(store, await drawn(store, "a"), how)
    assert (await store.totals()).previews_bytes == 6
    await asyncio.sleep(0.1)
    assert (await store.sweep()).results_dropped == 1
    totals = await store.totals()
    assert (totals.results_bytes, totals.previews_bytes) == (0, 0)
    assert await store.latest_preview("a") is None
    assert (await store.get("a")).preview_step is None
    if how == "succeeded":
        with pytest.raises(ResultExpired):
            await store.image("a", 0)


async def test_previews_count_towards_the_bound_of_results(open_store: OpenStore) -> None:
    store = open_store(max_results_bytes=2500)
    for name in ("a", "b", "c"):
        await end(store, await drawn(store, name, size=1000), "canceled")
    assert (await store.sweep()).results_dropped == 1
    assert await store.latest_preview("a") is None
    assert await store.latest_preview("b") is not None


async def test_records_are_bounded_the_oldest_and_owed_ones_last(open_store: OpenStore) -> None:
    store = open_store()
    for name in ("owed", "a", "b", "c"):
        await submit(store, name, webhook=WEBHOOK if name == "owed" else None)
        await store.cancel(name)
    held = (await store.totals()).records_bytes
    assert held > 0
    small = open_store(max_records_bytes=int(held * 0.6))
    assert (await small.sweep()).records_forgotten == 2
    assert {record.id for record in (await store.list()).records} == {"owed", "c"}
    tiny = open_store(max_records_bytes=1)
    assert (await tiny.sweep()).records_forgotten == 2
    assert (await store.totals()).records_bytes == 0
    assert await store.outbox.take(9, TERMS, (), {}) == ()


async def test_an_old_record_is_no_more_than_its_bytes(
    store: RedisStore, redis: Any, prefix: str
) -> None:
    """What is counted for a record is what Redis uses for it, give or take a half."""
    await end(store, await drawn(store, "warm"), "canceled")
    before = redis.info("memory")["used_memory_dataset"]
    counted = (await store.totals()).records_bytes
    for number in range(200):
        await end(store, await drawn(store, f"job{number}"), "canceled")
    used = redis.info("memory")["used_memory_dataset"] - before
    counted = (await store.totals()).records_bytes - counted
    assert counted == pytest.approx(used, rel=0.5)


async def test_nothing_is_left_of_jobs_whose_time_is_over(
    open_store: OpenStore, redis: Any, prefix: str
) -> None:
    store = open_store(result_ttl_s=0.01, record_ttl_s=0.01, idempotency_ttl_s=5.0)

    async def round_of_jobs() -> int:
        for number in range(30):
            how = ("succeeded", "failed", "canceled", "requeued")[number % 4]
            held = await drawn(store, f"job{number}", tenant="acme", size=120_000)
            await store.checkpoint(held.lease, [checkpoint(4)])
            await end(store, held, how)
            if how == "requeued":
                await end(store, await claim(store), "succeeded")
        key = Idempotency("key", "body")
        wanted = spec(deadline_s=100.0)
        await store.create("keyed", wanted, work(wanted), idempotency=key, webhook=WEBHOOK)
        await store.delete("keyed")
        await asyncio.sleep(0.05)
        await store.sweep()
        return int(redis.info("memory")["used_memory_dataset"])

    before = await round_of_jobs()
    names = {key.decode().removeprefix(f"{prefix}:") for key in redis.keys(f"{prefix}:*")}
    lasting = {name for name in names if redis.ttl(f"{prefix}:{name}") == -1}
    assert lasting - {"idle:toy:1"} <= FOR_GOOD
    assert await round_of_jobs() < before + 120_000
    with pytest.raises(JobNotFound):
        await store.get("job0")
