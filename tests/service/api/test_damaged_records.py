"""Extreme numbers come back as they were sent; a damaged record harms nobody but itself."""

import json
import os
import re
from dataclasses import replace
from typing import Any

import pytest
import structlog
from httpx import AsyncClient
from structlog.testing import capture_logs

from jobs.redis.store import RedisStore
from jobs.schema import MAX_SEED
from jobs.settings import JobsSettings
from jobs.tenants import TenantTerms
from service.api.model_removal import ModelInUse, forget_model
from service.auth.key_store import KeyStore
from service.auth.scope import Scope
from service.settings import ServiceSettings
from tests.jobs.examples import MODEL, checkpoint, claim, picture
from tests.service.worker import PNG, advance, draw

SEEDS = [0, 1, 2**32 - 1, 2**53 - 1, 2**53 + 1, 10**14 + 1, 10**18 + 7, MAX_SEED - 1, MAX_SEED]
DAMAGE = [
    b"7", b"garbage", b"\xff\xfe", b"-1", b"1e999", b"nan", b"9" * 400, b"{}",
    b"9223372036854775808", None,
]  # fmt: skip


@pytest.fixture
def settings(jobs_settings: JobsSettings) -> ServiceSettings:
    """Take webhooks to this machine on, and leave them undelivered."""
    return ServiceSettings(
        max_stream_s=0.2,
        **jobs_settings.model_dump(),
        webhook_networks=("127.0.0.0/8",),
        webhooks_at_once=0,
    )


async def submit(http: AsyncClient, **fields: object) -> str:
    body = {"prompt": "a red apple", "num_inference_steps": 4} | fields
    answer = await http.post("/v1/jobs", json=body)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


async def listed(http: AsyncClient) -> tuple[set[str], dict[str, str]]:
    """Return the readable ids of the list, and the codes of those that are not."""
    answer = await http.get("/v1/jobs?limit=100")
    assert answer.status_code == 200, answer.text
    page = answer.json()
    return {job["id"] for job in page["jobs"]}, {j["id"]: j["code"] for j in page["unreadable"]}


async def draw_with_seed(store: RedisStore, seed: int) -> None:
    """Play a worker that is interrupted once and draws the seed it was asked for."""
    held = await claim(store)
    assert held.record.spec.seed == seed
    await store.checkpoint(held.lease, [checkpoint(2)])
    await store.requeue(held.lease, "drain")
    held = await claim(store)
    assert held.checkpoints == (checkpoint(2),)
    image = picture(0, PNG)
    record = image.record.model_copy(update={"seed": seed})
    await store.add_image(held.lease, replace(image, record=record))
    await store.finish(held.lease, 4)


@pytest.mark.parametrize("seed", SEEDS)
async def test_seed_comes_back_exactly(http: AsyncClient, store: RedisStore, seed: int) -> None:
    job_id = await submit(http, seed=seed)
    await draw_with_seed(store, seed)
    job = (await http.get(f"/v1/jobs/{job_id}")).json()
    assert job["request"]["seed"] == job["images"][0]["seed"] == seed
    assert (await http.get(f"/v1/jobs/{job_id}/images/0")).content == PNG
    events = (await http.get(f"/v1/jobs/{job_id}/events")).text
    assert set(re.findall(r'"seed":(\d+)', events)) == {str(seed)}
    assert (await http.get("/v1/jobs")).json()["jobs"][0]["images"][0]["seed"] == seed
    assert (await http.delete(f"/v1/jobs/{job_id}")).status_code == 204


async def job_at(stage: str, http: AsyncClient, store: RedisStore) -> str:
    """Return a job in a state; each state holds other fields."""
    job_id = await submit(http, deadline_s=600, webhook={"url": "https://127.0.0.1/"})
    if stage == "done":
        await draw(store)
    if stage == "running":
        held = await claim(store)
        await advance(store, held, 1, preview=True)
        await store.checkpoint(held.lease, [checkpoint(2)])
    return job_id


@pytest.mark.parametrize("stage", ["done", "running", "queued"])
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.full)])
async def test_a_damaged_field_harms_that_job_alone(
    http: AsyncClient, store: RedisStore, redis: Any, prefix: str, stage: str, every: int
) -> None:
    """Every field in every way; or in every fourth, beginning with another one each."""
    good = await submit(http)
    await draw(store)

    def key_of(job_id: str) -> str:
        return f"{prefix}:job:{job_id}"

    first = await job_at(stage, http, store)
    fields = [str(name, "ascii") for name in redis.hkeys(key_of(first))]
    assert {"spec", "units", "status", "model", "tenant", "seq", "webhook"} < set(fields)
    await drain(http, store)
    for number, field in enumerate(fields):
        for value in DAMAGE[number % every :: every]:
            job_id = await job_at(stage, http, store)
            if value is None:
                redis.hdel(key_of(job_id), field)
            else:
                redis.hset(key_of(job_id), field, value)
            label = f"{stage}.{field} = {value!r}"
            readable, unreadable = await listed(http)
            assert good in readable, label
            assert job_id in readable or unreadable[job_id] in (
                "unreadable_record", "newer_version",
            ), label  # fmt: skip
            answer = await http.get(f"/v1/jobs/{job_id}")
            assert answer.status_code in ((200,) if job_id in readable else (500, 503)), label
            if job_id in unreadable:
                assert answer.json()["code"] == unreadable[job_id], label
            await store.sweep()
            deleted = await http.delete(f"/v1/jobs/{job_id}")
            if unreadable.get(job_id) == "newer_version":
                assert deleted.status_code == 503, label
                redis.hset(key_of(job_id), field, 1)
                deleted = await http.delete(f"/v1/jobs/{job_id}")
            assert deleted.status_code == 204, label
            assert job_id not in (set.union(*map(set, await listed(http)))), label
            await drain(http, store)
    assert not redis.keys(f"{prefix}:open:*")
    for name in redis.keys(f"{prefix}:tenant:*:jobs*"):
        assert good.encode() in redis.zrange(name, 0, -1), name


async def drain(http: AsyncClient, store: RedisStore) -> None:
    """Delete what is there but for the oldest, and see that no work is left of it."""
    page = (await http.get("/v1/jobs?limit=100")).json()
    for job in page["jobs"][:-1]:
        assert (await http.delete(f"/v1/jobs/{job['id']}")).status_code == 204
    backlog = await store.backlog("toy")
    assert (backlog.pending_jobs, backlog.running_jobs) == (0, 0)
    assert await store.claim("toy", "w", idle=True) is None
    assert (await store.totals()).unreadable == 0
    loads = await store.tenants.all()
    assert not any(load.open_jobs or load.outstanding_units for load in loads)


async def test_a_worker_fails_what_it_cannot_read_and_takes_the_next(
    http: AsyncClient, store: RedisStore, redis: Any, prefix: str
) -> None:
    damaged, sound = await submit(http), await submit(http)
    spec = redis.hget(f"{prefix}:job:{damaged}", "spec")
    redis.hset(f"{prefix}:job:{damaged}", "spec", "{")
    assert (await claim(store)).record.id == sound
    assert await store.claim("toy", "w", idle=True) is None
    assert (await store.totals()).unreadable == 1
    assert "sfumato_unreadable_records 1.0" in (await http.get("/metrics")).text
    redis.hset(f"{prefix}:job:{damaged}", "spec", spec)
    job = (await http.get(f"/v1/jobs/{damaged}")).json()
    assert (job["status"], job["error"]["code"]) == ("failed", "internal")
    assert "'spec' is damaged" in job["error"]["detail"]


ENTRY = MODEL.model_dump() | {"name": "broken"}


@pytest.mark.parametrize(
    "damage",
    [
        b"", b"{", b"[]", b'{"name": "toy"}', b"\x00", b"\xff", MODEL.model_dump_json().encode(),
        json.dumps(ENTRY | {"width": 0}).encode(), json.dumps(ENTRY | {"units_per_s": -1}).encode(),
        json.dumps(ENTRY | {"cold_start_s": float("nan")}).encode(),
        json.dumps(ENTRY | {"max_side": 10**400}).encode(),
    ],
)  # fmt: skip
async def test_a_damaged_entry_does_not_hide_the_others(
    http: AsyncClient, store: RedisStore, redis: Any, prefix: str, damage: bytes
) -> None:
    redis.hset(f"{prefix}:models", "broken", damage)
    redis.sadd(f"{prefix}:workers", "broken")
    redis.set(f"{prefix}:worker:broken", damage, ex=60)
    redis.hset(f"{prefix}:tenants", "broken", damage)
    await store.tenants.set(TenantTerms(name="sound", weight=2))
    routes = (await http.get("/openapi.json")).json()["paths"]
    paths = {re.sub(r"\{\w+\}", "broken", path) for path in routes if "get" in routes[path]}
    assert {"/v1/models", "/v1/scaling/broken", "/readyz", "/metrics"} < paths
    for path in paths:
        answer = await http.get(path)
        assert answer.status_code in (200, 404, 422), path
    assert (await store.totals()).unreadable == 1
    models = (await http.get("/v1/models")).json()["models"]
    assert [model["name"] for model in models] == [MODEL.name]
    assert {load.name: load.weight for load in await store.tenants.all()} == {
        "broken": 1.0,
        "sound": 2.0,
    }
    assert (await http.post("/v1/jobs", json={"prompt": "a"})).status_code == 202
    redis.srem(f"{prefix}:workers", "broken")
    assert await forget_model(store, "broken") == 0
    assert not redis.hexists(f"{prefix}:models", "broken")
    assert (await store.totals()).unreadable == 0
    with pytest.raises(ModelInUse, match="no model 'broken'"):
        await forget_model(store, "broken")


async def test_a_damaged_entry_is_named_once_in_the_log(
    store: RedisStore, announced: None, redis: Any, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.redis.damage.log", structlog.get_logger())  # bound to nothing yet
    redis.hset(f"{prefix}:models", "broken", json.dumps(ENTRY | {"width": 0}))
    redis.hset(f"{prefix}:models", b"\xff", "{")
    with capture_logs() as logs:
        for _ in range(3):
            assert await store.models() == (MODEL,)
    assert all(line["log_level"] == "error" for line in logs)
    reasons = {line["record"]: line["reason"] for line in logs}
    assert set(reasons) == {"model:broken", r"model:\xff"}
    assert len(logs) == len(reasons)
    assert "width" in reasons["model:broken"]


async def test_an_entry_is_forgotten_whatever_its_name(
    store: RedisStore, redis: Any, prefix: str
) -> None:
    for name in (b"\xff\xfe", "ü".encode(), b"a b", b""):
        redis.hset(f"{prefix}:models", name, "{")
        assert await store.models() == ()
        assert (await store.totals()).unreadable == 1
        assert await store.forget_model(os.fsdecode(name))
        assert (await store.totals()).unreadable == 0


async def test_a_damaged_key_does_not_hide_the_others(
    jobs_settings: JobsSettings, redis: Any, prefix: str
) -> None:
    store = KeyStore(jobs_settings)
    sound, _ = await store.create("shop", frozenset({Scope.JOBS}))
    broken, _ = await store.create("shop", frozenset({Scope.JOBS}))
    (name,) = [key for key in redis.scan_iter() if key.endswith(f":key:{broken.id}".encode())]
    for field in redis.hkeys(name):
        before = redis.hget(name, field)
        redis.hset(name, field, b"\xff")
        assert sound.id in {key.id for key in await store.all()}, field
        await store.find(broken.id)
        redis.hset(name, field, before)
    await store.revoke(broken.id)
    await store.close()
