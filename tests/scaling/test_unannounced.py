"""A model that left the catalogue while it slept: the shipped trigger against a real door."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from service.application import create_app
from service.settings import ServiceSettings
from tests.jobs.examples import MODEL
from tests.scaling.kubernetes.autoscaler import Autoscaler
from tests.scaling.kubernetes.scaled_object import shipped


@pytest.fixture
async def app(jobs_settings: JobsSettings) -> AsyncIterator[FastAPI]:
    application = create_app(ServiceSettings(**jobs_settings.model_dump()))
    async with application.router.lifespan_context(application):
        yield application


async def read(app: FastAPI, url: str) -> float | None:
    """Ask as KEDA does: an answer other than 200 is no value."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
        answer = await http.get(url)
    if answer.status_code != 200:
        return None
    return float(answer.json()[shipped().trigger.metadata["valueLocation"]])


@pytest.mark.full
async def test_it_wakes_for_one_worker_and_sleeps_again_once_that_has_announced_it(
    app: FastAPI, store: RedisStore
) -> None:
    url = shipped().trigger.metadata["url"]
    name = httpx.URL(url).path.rpartition("/")[2]
    autoscaler = Autoscaler(shipped())
    changes, replicas, now, announced = [], 0, 0.0, False
    while now < 600:
        if now > 120 and not announced:
            await store.announce_model(MODEL.model_copy(update={"name": name}))
            await app.state.door.models.refresh()
            announced = True
        value = await read(app, url)
        wanted = autoscaler.turn(now, replicas, lambda value=value: value)  # type: ignore[misc]
        if wanted != replicas:
            changes.append((now, wanted))
        replicas, now = wanted, autoscaler.due_s
    assert changes == [
        (0.0, 1),  # the first poll, and one is all that is wanted in two minutes of it
        (425.0, 0),  # the first poll more than 300 s after the last active one, at 120 s
    ]


async def test_the_fallback_alone_would_leave_it_asleep(app: FastAPI) -> None:
    scaled, now = shipped(), 0.0
    assert scaled.fallback.replicas == 1
    autoscaler = Autoscaler(scaled)
    assert await read(app, scaled.trigger.metadata["url"].partition("?")[0]) is None
    while now < 600:
        assert autoscaler.turn(now, 0, lambda: None) == 0
        now = autoscaler.due_s
