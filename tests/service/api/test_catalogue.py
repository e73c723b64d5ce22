"""The catalogue is never behind the workers that a door shows."""

import asyncio
from dataclasses import replace
from typing import Any

from httpx import AsyncClient

from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from tests.jobs.examples import EULER, HEUN, MODEL, worker
from tests.service.doors import open_door


async def names(http: AsyncClient, path: str, part: str) -> set[str]:
    found: Any = (await http.get(path)).json()
    return {each["name"] for each in found[part]}


async def test_a_new_model_is_there_as_soon_as_its_worker(
    jobs_settings: JobsSettings, store: RedisStore
) -> None:
    async with open_door(jobs_settings) as (app, http):
        assert await names(http, "/v1/models", "models") == set()
        for name in ("toy", "second"):
            await store.announce_model(MODEL.model_copy(update={"name": name}))
            await store.announce_worker(replace(worker(1.0, name), model=name))
            await app.state.door.workers.refresh()
            assert name in {each["model"] for each in (await http.get("/v1/workers")).json()}
            assert name in await names(http, "/v1/models", "models")
            assert await names(http, "/v1/samplers", "samplers") == {"euler", "heun"}
            assert (await http.get("/readyz")).json()["models"] >= 1


async def test_a_first_model_is_there_at_once(
    jobs_settings: JobsSettings, store: RedisStore
) -> None:
    async with open_door(jobs_settings) as (_, http):
        assert (await http.get("/readyz")).json() == {"status": "ok", "models": 0, "workers": 0}
        await store.announce_model(MODEL)
        assert await names(http, "/v1/models", "models") == {"toy"}


async def test_a_sampler_has_the_schedules_of_all_models(
    jobs_settings: JobsSettings, store: RedisStore
) -> None:
    other = EULER.model_copy(update={"schedules": ("karras", "model")})
    await store.announce_model(MODEL)
    await store.announce_model(MODEL.model_copy(update={"name": "z", "samplers": (other,)}))
    async with open_door(jobs_settings) as (_, http):
        euler, heun = (await http.get("/v1/samplers")).json()["samplers"]
        assert (euler["schedules"], euler["models"]) == (
            ["karras", "trailing", "model"],
            ["toy", "z"],
        )
        assert (heun["schedules"], heun["models"]) == (["karras", "trailing"], ["toy"])


async def test_a_request_gets_the_model_s_own_schedule(
    jobs_settings: JobsSettings, store: RedisStore
) -> None:
    own = EULER.model_copy(update={"schedules": ("karras", "model")})
    await store.announce_model(
        MODEL.model_copy(update={"default_schedule": "model", "samplers": (own, HEUN)})
    )
    async with open_door(jobs_settings) as (_, http):
        for asked, schedule in (({}, "model"), ({"sampler": "heun"}, "karras")):
            job: Any = (await http.post("/v1/jobs", json={"prompt": "a red apple", **asked})).json()
            assert job["request"]["schedule"] == schedule
        (model,) = (await http.get("/v1/models")).json()["models"]
        assert model["default_schedule"] == "model"


async def test_a_model_is_warm_where_a_worker_has_it_loaded(
    http: AsyncClient, store: RedisStore
) -> None:
    async def warm() -> bool:
        await asyncio.sleep(1.05)  # figures are read again after a second
        (model,) = (await http.get("/v1/models")).json()["models"]
        return bool(model["warm"])

    assert not await warm()
    await store.announce_worker(replace(worker(10.0), loaded=False))
    assert not await warm()
    await store.announce_worker(worker(10.0))
    assert await warm()
