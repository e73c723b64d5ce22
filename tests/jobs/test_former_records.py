"""Records that an earlier version left in Redis are read, claimed, resumed and finished; those of
a newer version are left alone.
"""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis import Redis

from jobs.errors import IdempotencyConflict, NewerSchema
from jobs.redis_store import RedisStore
from jobs.schema import SCHEMA_VERSION, JobSpec, JobStatus
from jobs.settings import JobsSettings
from jobs.store import Idempotency
from tests.jobs import former_records
from tests.jobs.examples import MODEL, checkpoint, picture, spec, work

FILES = sorted(former_records.FOLDER.glob("records-*.json"))
former = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)


@pytest.fixture
def redis(jobs_settings: JobsSettings) -> Any:
    client = Redis.from_url(jobs_settings.redis_url)
    yield client
    client.close()


@pytest.fixture
def prefix(jobs_settings: JobsSettings) -> str:
    return f"{{{jobs_settings.key_prefix}}}"


@former
async def test_every_state_is_read(
    redis: Any, prefix: str, path: Path, redis_store: RedisStore
) -> None:
    former_records.load(redis, prefix, path)
    page = await redis_store.list(limit=100)
    assert {record.id: str(record.status) for record in page.records} == {
        name: "queued" if name in ("waiting", "high", "low", "interrupted") else name
        for name in (
            "low", "high", "waiting", "interrupted", "running", "expired", "canceled", "failed",
            "succeeded",
        )
    }  # fmt: skip
    for record in page.records:
        assert record == await redis_store.get(record.id)
        assert record.spec.tenant == "public"
    assert (await redis_store.image("succeeded", 0)).data == b"picture"
    assert await redis_store.latest_preview("succeeded") == ("image/png", b"blurry")
    kinds = [event.kind async for event in redis_store.events("succeeded")]
    assert kinds == ["status", "status", "progress", "preview", "result"]
    await redis_store.sweep()
    listed = await redis_store.list(tenant="public", limit=100)
    assert listed.records == page.records
    ended = await redis_store.list(tenant="public", status=JobStatus.CANCELED)
    assert [record.id for record in ended.records] == ["canceled"]
    failed = await redis_store.get("failed")
    assert failed.error is not None
    assert failed.error.code == "non_finite"
    assert (await redis_store.get("waiting")).spec.metadata == {"order": "17"}
    assert await redis_store.models() == (MODEL,)
    totals = await redis_store.totals()
    assert (totals.created, totals.ended["succeeded"], totals.ended["expired"]) == (9, 1, 1)


@former
async def test_every_job_that_waits_is_claimed_and_finished(
    redis: Any, prefix: str, path: Path, jobs_settings: JobsSettings
) -> None:
    former_records.load(redis, prefix, path)
    store = RedisStore(jobs_settings.model_copy(update={"lease_s": 0.2}))
    backlog = await store.backlog("toy")
    assert (backlog.pending_jobs, backlog.running_jobs) == (4, 1)
    assert (backlog.pending_units, backlog.running_units) == (33, 7)
    resumed, order = {}, []
    while (await store.totals()).ended["succeeded"] < 6:
        await store.sweep()  # the job that ran has lost its worker
        claim = await store.claim("toy", "w2", idle=True)
        if claim is None:
            continue
        order.append(claim.record.id)
        resumed[claim.record.id] = claim.checkpoints
        for image in set(range(claim.record.spec.num_images)) - set(claim.finished):
            await store.add_image(claim.lease, picture(image))
        done = await store.finish(claim.lease, 1)
        assert done.status is JobStatus.SUCCEEDED
    assert [name for name in order if name != "running"] == [
        "high",
        "interrupted",
        "waiting",
        "low",
    ]
    assert resumed["running"] == (checkpoint(3),)
    assert resumed["interrupted"] == (checkpoint(7),)
    assert (await store.image("running", 1)).data == b"picture"
    assert (await store.get("interrupted")).evaluations == 8
    assert (await store.backlog("toy")).units == 0
    await store.close()


@former
async def test_jobs_are_cancelled_deleted_and_asked_for_again(
    redis: Any, prefix: str, path: Path, redis_store: RedisStore
) -> None:
    former_records.load(redis, prefix, path)
    wanted = spec(metadata={"order": "17"})
    again = Idempotency("key-waiting", "body")
    replayed = await redis_store.create("other", wanted, work(wanted), idempotency=again)
    assert (replayed.replayed, replayed.record.id) == (True, "waiting")
    with pytest.raises(IdempotencyConflict):
        await redis_store.create("x", wanted, 10, idempotency=Idempotency("key-waiting", "?"))
    for name in ("waiting", "running"):
        assert (await redis_store.cancel(name)).status is JobStatus.CANCELED
    for record in (await redis_store.list(limit=100)).records:
        await redis_store.delete(record.id)
    assert (await redis_store.backlog("toy")).units == 0
    assert not list(redis.keys(f"{prefix}:job:*"))
    assert not list(redis.keys(f"{prefix}:checkpoint:*"))
    assert not list(redis.keys(f"{prefix}:image:*"))


def test_a_new_field_of_a_spec_takes_a_new_schema_version() -> None:
    # A worker of the former version refuses a spec with a field that it does not know: had the
    # record its own version, it would claim it and fail at it.
    known = FILES[-1].read_text()
    kept = orjson.loads(known)
    assert kept["schema_version"] == SCHEMA_VERSION, "keep records of this version first"
    waiting = orjson.loads(kept["keys"][":job:waiting"]["value"]["spec"])
    assert set(waiting) == set(JobSpec.model_fields)


async def test_a_newer_job_is_left_for_a_newer_process(
    redis: Any, prefix: str, jobs_settings: JobsSettings
) -> None:
    store = RedisStore(
        jobs_settings.model_copy(update={"lease_s": 0.1, "record_ttl_s": 0.01, "park_after_s": 0.0})
    )
    for name in ("runs", "waits", "ended", "ours"):
        await store.create(name, spec(), 10)
    running = await store.claim("toy", "newer-worker", idle=True)
    assert running is not None
    assert running.record.id == "runs"
    await store.create("late", spec(deadline_s=0.05), 10)
    await store.cancel("ended")
    newer = ("runs", "waits", "late", "ended")
    for name in newer:
        redis.hset(f"{prefix}:job:{name}", "schema_version", SCHEMA_VERSION + 1)
    before = {name: redis.hgetall(f"{prefix}:job:{name}") for name in newer}
    await asyncio.sleep(0.15)  # a lease, a deadline and a record's time run out
    for _ in range(3):
        swept = await store.sweep()
        assert (swept.requeued, swept.expired, swept.failed) == ((), (), ())
    claim = await store.claim("toy", "our-worker", idle=True)
    assert claim is not None
    assert claim.record.id == "ours"
    assert await store.claim("toy", "our-worker", idle=True) is None
    calls: tuple[Callable[[str], Awaitable[object]], ...] = (store.get, store.cancel, store.delete)
    for call in calls:
        for name in newer:
            with pytest.raises(NewerSchema, match=f"job {name} has schema version"):
                await call(name)
    assert [record.id for record in (await store.list()).records] == ["ours"]
    assert (await store.renew([claim.lease], parkable=2)).higher_waiting is None
    assert {name: redis.hgetall(f"{prefix}:job:{name}") for name in newer} == before
    await store.close()
