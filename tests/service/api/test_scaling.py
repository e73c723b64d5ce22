"""``GET /v1/scaling/{model}``: what KEDA's metrics-api trigger reads."""

import asyncio

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from jobs.redis.store import RedisStore
from tests.jobs.examples import MODEL, claim, worker
from tests.service.worker import advance, draw


async def test_backlog_is_in_seconds_of_one_worker(http: AsyncClient, store: RedisStore) -> None:
    measured = MODEL.model_copy(update={"units_per_s": 4.0, "cold_start_s": 3.25})
    await store.announce_model(measured)
    await store.announce_worker(worker(5.0))
    for _ in range(3):
        await http.post("/v1/jobs", json={"prompt": "a red apple"})
    await advance(store, await claim(store), 5)
    await asyncio.sleep(1.05)  # a door's figures are at most a second old
    assert (await http.get("/v1/scaling/toy")).json() == {
        "model": "toy",
        "backlog_s": 5.0,
        "announced": True,
        "pending_units": 20.0,
        "running_units": 5.0,
        "units_per_s": 5.0,
        "workers": 1,
        "cold_start_s": 3.25,
    }


async def test_backlog_is_zero_when_nothing_is_outstanding_and_only_then(
    http: AsyncClient, store: RedisStore
) -> None:
    await http.post("/v1/jobs", json={"prompt": "a"})
    found = (await http.get("/v1/scaling/toy")).json()
    assert found["backlog_s"] > 0  # no speed is known, and yet a worker has to start
    await draw(store)
    await asyncio.sleep(1.05)
    found = (await http.get("/v1/scaling/toy")).json()
    assert (found["backlog_s"], found["workers"], found["units_per_s"]) == (0.0, 0, 0.0)


async def test_an_unannounced_model_is_404(http: AsyncClient) -> None:
    answer = await http.get("/v1/scaling/unheard-of")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_model")
    assert answer.headers["content-type"] == "application/problem+json"


async def test_the_backlog_of_an_unannounced_model_can_be_given(
    http: AsyncClient, app: FastAPI, store: RedisStore
) -> None:
    value = app.state.door.counters.registry.get_sample_value
    asked = {"unannounced_s": "30"}
    assert (await http.get("/v1/scaling/toy", params=asked)).json()["backlog_s"] == 0.0
    assert value("sfumato_scaling_unannounced_total") == 0
    assert (await http.get("/v1/scaling/asleep", params=asked)).json() == {
        "model": "asleep",
        "backlog_s": 30.0,
        "announced": False,
        "pending_units": 0.0,
        "running_units": 0.0,
        "units_per_s": 0.0,
        "workers": 0,
        "cold_start_s": 0.0,
    }
    assert value("sfumato_scaling_unannounced_total") == 1
    await store.announce_model(MODEL.model_copy(update={"name": "asleep"}))
    await asyncio.sleep(1.05)
    found = (await http.get("/v1/scaling/asleep", params=asked)).json()
    assert (found["backlog_s"], found["announced"]) == (0.0, True)


@pytest.mark.parametrize("seconds", ["-1", "nan", "inf", "1e7", "soon", ""])
async def test_what_is_no_backlog_is_refused(http: AsyncClient, seconds: str) -> None:
    answer = await http.get("/v1/scaling/asleep", params={"unannounced_s": seconds})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert answer.json()["errors"][0]["field"] == "unannounced_s"
