"""An earlier version's records are read, claimed and finished; a newer version's are left alone."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from jobs.errors import NewerSchema
from jobs.outbox import DeliveryTerms
from jobs.redis.store import RedisStore
from jobs.schema import SCHEMA_VERSION, JobSpec, JobStatus
from jobs.store import Idempotency
from jobs.webhook import Webhook
from tests.jobs.conftest import OpenStore, RunOut
from tests.jobs.examples import MODEL, checkpoint, claim, picture, spec, submit, work
from tests.jobs.redis.former_records import FOLDER, load

FILES = sorted(FOLDER.glob("records-*.json"))
TERMS = DeliveryTerms(60.0, 5, limit_of_tenant=9, limit_of_receiver=9, limit_of_probes=9)


@pytest.fixture(params=FILES, ids=lambda path: path.stem)
async def former(
    request: pytest.FixtureRequest, redis: Any, prefix: str, open_store: OpenStore
) -> RedisStore:
    """Open a store that holds what a former version left."""
    load(redis, prefix, request.param)
    kept = {"result_ttl_s": 1e9, "record_ttl_s": 1e9}  # it is years old by now
    return open_store(**kept)


async def test_every_state_is_read(former: RedisStore) -> None:
    page = await former.list(limit=100)
    queued = ("low", "high", "waiting", "interrupted")
    ended = ("expired", "canceled", "failed", "succeeded")
    assert {record.id: str(record.status) for record in page.records} == {
        name: "queued" if name in queued else name for name in (*queued, "running", *ended)
    }
    for record in page.records:
        assert record == await former.get(record.id)
        assert record.spec.tenant == ("acme" if record.id == "high" else "public")
    assert (await former.image("succeeded", 0)).data == b"picture"
    assert await former.latest_preview("succeeded") == ("image/png", b"blurry")
    kinds = [event.kind async for event in former.events("succeeded")]
    assert kinds == ["status", "status", "progress", "preview", "result"]
    failed = await former.get("failed")
    assert failed.error is not None
    assert failed.error.code == "non_finite"
    assert (await former.get("waiting")).spec.metadata == {"order": "17"}
    (model,) = await former.models()
    syntaxes = {"prompt_syntaxes": MODEL.prompt_syntaxes}  # version 1 knew none
    assert model.model_copy(update=syntaxes) == MODEL
    assert (await former.tenants.get("acme")).weight == 2.0
    totals = await former.totals()
    assert (totals.created, totals.ended["succeeded"], totals.ended["expired"]) == (9, 1, 1)
    (delivery,) = await former.outbox.take(9, TERMS, (), {})
    assert await former.outbox.settle(delivery, "delivered")


async def test_every_job_that_waits_is_claimed_and_finished(
    former: RedisStore, run_out: RunOut
) -> None:
    backlog = await former.backlog("toy")
    assert (backlog.pending_jobs, backlog.running_jobs) == (4, 1)
    assert (backlog.pending_units, backlog.running_units) == (33, 7)
    resumed, order = {}, []
    while (await former.totals()).ended["succeeded"] < 6:
        held = await former.claim("toy", "w2", idle=True)
        if held is None:
            run_out()  # the job that ran has lost its worker
            await former.sweep()
            continue
        order.append(held.record.id)
        resumed[held.record.id] = held.checkpoints
        for image in set(range(held.record.spec.num_images)) - set(held.finished):
            await former.add_image(held.lease, picture(image))
        done = await former.finish(held.lease, 1)
        assert done.status is JobStatus.SUCCEEDED
    others = [name for name in order if name != "running"]
    assert others == ["high", "interrupted", "waiting", "low"]
    assert resumed["running"] == (checkpoint(3),)
    assert resumed["interrupted"] == (checkpoint(7),)
    assert (await former.image("running", 1)).data == b"picture"
    assert (await former.get("interrupted")).evaluations == 8
    assert (await former.backlog("toy")).units == 0


async def test_jobs_are_replayed_and_deleted(former: RedisStore, redis: Any, prefix: str) -> None:
    wanted = spec(metadata={"order": "17"})
    again = Idempotency("key-waiting", "body")
    replayed = await former.create("other", wanted, work(wanted), idempotency=again)
    assert (replayed.replayed, replayed.record.id) == (True, "waiting")
    for record in (await former.list(limit=100)).records:
        await former.delete(record.id)
    assert (await former.backlog("toy")).units == 0
    assert await former.tenants.all() == (await former.tenants.get("acme"),)
    for kind in ("job", "checkpoint", "image", "events", "idempotency", "lane"):
        assert not list(redis.keys(f"{prefix}:{kind}:*"))


def test_a_new_field_of_a_spec_takes_a_new_schema_version() -> None:
    # A worker of the former version refuses a spec with a field that it does not know: had the
    # record its own version, it would claim it and fail at it.
    kept = orjson.loads(FILES[-1].read_bytes())
    assert kept["schema_version"] == SCHEMA_VERSION, "keep records of this version first"
    waiting = orjson.loads(kept["keys"][":job:waiting"][1]["spec"])
    assert set(waiting) == set(JobSpec.model_fields)


async def test_a_newer_job_is_left_alone(
    redis: Any, prefix: str, open_store: OpenStore, run_out: RunOut
) -> None:
    store = open_store(record_ttl_s=0.01, park_after_s=0.0)
    for name in ("runs", "waits", "ended", "ours"):
        await submit(store, name, webhook=Webhook(url="https://shop.example/hook"))
    assert (await claim(store, "newer-worker")).record.id == "runs"
    await submit(store, "late", deadline_s=0.05)
    await store.cancel("ended")
    newer = ("runs", "waits", "late", "ended")
    for name in newer:
        redis.hset(f"{prefix}:job:{name}", "schema_version", SCHEMA_VERSION + 1)
    before = {name: redis.hgetall(f"{prefix}:job:{name}") for name in newer}
    await asyncio.sleep(0.15)  # a deadline and a record's time run out
    for _ in range(3):
        run_out()
        swept = await store.sweep()
        assert (swept.requeued, swept.expired, swept.failed) == ((), (), ())
    held = await claim(store, "our-worker")
    assert held.record.id == "ours"
    assert await store.claim("toy", "our-worker", idle=True) is None
    calls: tuple[Callable[[str], Awaitable[object]], ...] = (store.get, store.cancel, store.delete)
    for call in calls:
        for name in newer:
            with pytest.raises(NewerSchema, match=f"job {name} has schema version"):
                await call(name)
    assert [record.id for record in (await store.list()).records] == ["ours"]
    assert (await store.renew([held.lease], preemptible=2)).higher_waiting is None
    assert await store.outbox.take(9, TERMS, (), {}) == ()  # "ended" is a newer door's
    assert {name: redis.hgetall(f"{prefix}:job:{name}") for name in newer} == before
