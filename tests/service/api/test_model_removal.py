"""Forgetting a model: only once no worker serves it, and with no job left that waits for it."""

import asyncio

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from jobs.redis.store import RedisStore
from jobs.schema import JobStatus
from service.api.model_removal import ModelInUse, forget_model
from tests.faults.client import until
from tests.jobs.examples import MODEL, claim, spec, work, worker
from tests.service.conftest import Command


async def test_a_model_in_use_is_kept_with_a_reason(store: RedisStore) -> None:
    with pytest.raises(ModelInUse, match="no model 'toy'"):
        await forget_model(store, "toy")
    await store.announce_model(MODEL)
    serving = worker(10.0)
    await store.announce_worker(serving)
    with pytest.raises(ModelInUse, match=f"served by {serving.id}"):
        await forget_model(store, "toy", cancel=True)
    await store.retire_worker(serving.id)
    await store.create("waits", spec(), work(spec()))
    with pytest.raises(ModelInUse, match="1 jobs of toy have not ended"):
        await forget_model(store, "toy")
    assert await store.models() == (MODEL,)


async def test_what_waits_for_a_forgotten_model_is_cancelled(store: RedisStore) -> None:
    other = MODEL.model_copy(update={"name": "other"})
    for model in (MODEL, other):
        await store.announce_model(model)
    for name in ("runs", "waits"):
        await store.create(name, spec(), work(spec()))
        if name == "runs":
            await claim(store)
    elsewhere = spec().model_copy(update={"model": "other"})
    await store.create("elsewhere", elsewhere, work(elsewhere))
    assert await forget_model(store, "toy", cancel=True) == 2
    assert await store.models() == (other,)
    found = {name: (await store.get(name)).status for name in ("runs", "waits", "elsewhere")}
    assert found == {
        "runs": JobStatus.CANCELED, "waits": JobStatus.CANCELED, "elsewhere": JobStatus.QUEUED,
    }  # fmt: skip


async def test_a_job_that_a_door_takes_by_an_old_catalogue_is_cancelled(
    app: FastAPI, http: AsyncClient, store: RedisStore
) -> None:
    for _ in range(5):
        await store.announce_model(MODEL)
        await app.state.door.models.refresh()  # the door knows it for a while
        forgetting = asyncio.create_task(forget_model(store, "toy"))
        await until("the catalogue is empty", lambda: _empty(store))
        late = await http.post("/v1/jobs", json={"prompt": "a red apple"})
        if late.status_code == 202:
            break
        await forgetting  # this machine has stood still for longer than the door's while
    assert late.status_code == 202
    assert await forgetting == 1
    assert (await store.get(late.json()["id"])).status is JobStatus.CANCELED
    again = await http.post("/v1/jobs", json={"prompt": "a red apple"})
    assert (again.status_code, again.json()["code"]) == (503, "no_model")


async def _empty(store: RedisStore) -> bool:
    return not await store.models()


def test_the_command_says_what_it_did(command: Command) -> None:
    assert "there is no model 'toy'" in command("models", "forget", "toy", code=1).output
