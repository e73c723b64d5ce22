"""``durable=strict``: a job is acknowledged once the disk or a replica has it, or refused."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from httpx import Response

from jobs.errors import JobNotFound, NotDurable
from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from jobs.store import Created, Idempotency
from service.processes.ports import free_port
from service.processes.redis_server import wheel_binary
from tests.conftest import Opened
from tests.faults.client import until
from tests.faults.processes import RedisProcess
from tests.jobs.examples import MODEL, spec, work
from tests.service.doors import open_door

KEY = Idempotency("key", "body")
STRICT = {"prompt": "a red apple", "durable": "strict"}
Serve = Callable[..., RedisProcess]


@pytest.fixture
async def serve(tmp_path: Path) -> AsyncIterator[Serve]:
    """Start Valkey servers, which all have WAITAOF."""
    servers: list[RedisProcess] = []

    def start(*options: str) -> RedisProcess:
        folder = tmp_path / str(len(servers))
        servers.append(RedisProcess(folder, free_port(), *options, binary=wheel_binary()))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


async def acknowledged(store: RedisStore, job_id: str) -> Created:
    """Store a job with the key, however slow the disk is."""

    async def created() -> Created | None:
        try:
            return await store.create(
                job_id, spec(), work(spec()), idempotency=KEY, durable="strict"
            )
        except NotDurable:
            return None

    return await until(f"the disk to have {job_id}", created)


async def test_job_is_acknowledged_once_on_disk(serve: Serve, opened: Opened[RedisStore]) -> None:
    store = opened(RedisStore(JobsSettings(redis_url=serve().url, durable="strict")))
    for job_id in ("a", "again"):
        assert (await acknowledged(store, job_id)).record.id == "a"
    relaxed = await store.create("b", spec(), work(spec()), durable="relaxed")
    assert relaxed.record.id == "b"


async def test_wait_that_runs_out_keeps_the_job(serve: Serve, opened: Opened[RedisStore]) -> None:
    settings = JobsSettings(redis_url=serve().url, durable_timeout_s=0.001)
    hasty = opened(RedisStore(settings))

    async def refused() -> NotDurable | None:
        try:  # it may come just before the write to disk that is due once a second
            await hasty.create("a", spec(), 10, idempotency=KEY, durable="strict")
        except NotDurable as error:
            return error
        await hasty.delete("a")
        return None

    error = await until("a wait that runs out", refused)
    assert error.kept
    assert "job a is kept" in str(error)
    patient = opened(RedisStore(settings.model_copy(update={"durable_timeout_s": 9.0})))
    again = await acknowledged(patient, "b")
    assert (again.record.id, again.replayed) == ("a", True)


async def test_job_waits_for_replicas(serve: Serve, opened: Opened[RedisStore]) -> None:
    primary = serve()
    settings = JobsSettings(redis_url=primary.url, durable="strict", durable_replicas=1)
    store = opened(RedisStore(settings))
    with pytest.raises(NotDurable, match="not accepted: 0 of 1 replicas are connected") as refused:
        await store.create("a", spec(), 10)
    assert not refused.value.kept
    with pytest.raises(JobNotFound):
        await store.get("a")
    replica = serve("--replicaof", f"127.0.0.1 {primary.port}")

    async def taken() -> bool:
        try:
            return bool(await store.create("b", spec(), 10))
        except NotDurable:
            return False

    await until("a replica", taken)
    replica.kill()


async def test_door_says_that_the_job_is_kept(serve: Serve) -> None:
    settings = JobsSettings(redis_url=serve().url, durable_timeout_s=0.001)
    async with open_door(settings) as (app, http):
        await app.state.door.store.announce_model(MODEL)

        async def unconfirmed() -> Response | None:
            answer = await http.post("/v1/jobs", json=STRICT)
            return answer if answer.status_code == 503 else None

        refused = await until("a wait that runs out", unconfirmed)
        assert refused.json()["code"] == "not_durable"
        kept = await http.get(refused.headers["location"])
        assert (kept.status_code, kept.json()["status"]) == (200, "queued")


async def test_door_without_appendonly_takes_nothing_on(serve: Serve) -> None:
    settings = JobsSettings(redis_url=serve("--appendonly", "no").url)
    async with open_door(settings) as (app, http):
        await app.state.door.store.announce_model(MODEL)
        answer = await http.post("/v1/jobs", json=STRICT)
        assert (answer.status_code, answer.json()["code"]) == (501, "durability_unsupported")
        assert "without appendonly" in answer.json()["detail"]
        assert (await http.get("/v1/jobs")).json()["jobs"] == []
        assert (await http.post("/v1/jobs", json={"prompt": "x"})).status_code == 202
