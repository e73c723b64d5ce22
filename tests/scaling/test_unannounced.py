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
from tests.scaling.kubernetes.scaled_object import ScaledObject
from tests.scaling.kubernetes.shipped import shipped


@pytest.fixture
async def app(jobs_settings: JobsSettings) -> AsyncIterator[FastAPI]:
    application = create_app(ServiceSettings(**jobs_settings.model_dump()))
    async with application.router.lifespan_context(application):
        yield application


def without_query(scaled: ScaledObject) -> ScaledObject:
    """Return the object as it would be if it did not say what to tell of an unknown model."""
    trigger = scaled.trigger
    metadata = trigger.metadata | {"url": trigger.metadata["url"].partition("?")[0]}
    return scaled.measuring(trigger.model_copy(update={"metadata": metadata}))


async def read(app: FastAPI, scaled: ScaledObject) -> float | None:
    """Ask as KEDA does: an answer other than 200 is no value."""
    metadata = scaled.trigger.metadata
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app)) as http:
        answer = await http.get(metadata["url"])
    return float(answer.json()[metadata["valueLocation"]]) if answer.status_code == 200 else None


async def test_it_wakes_for_one_worker_and_sleeps_again_once_that_has_announced_it(
    app: FastAPI, redis_store: RedisStore
) -> None:
    scaled = shipped()
    name = httpx.URL(scaled.trigger.metadata["url"]).path.rpartition("/")[2]
    autoscaler = Autoscaler(scaled)
    changes, replicas, now, announced = [], 0, 0.0, False
    while now < 600:
        if now > 120 and not announced:
            await redis_store.announce_model(MODEL.model_copy(update={"name": name}))
            await app.state.door.models.refresh()
            announced = True
        value = await read(app, scaled)
        wanted = autoscaler.turn(now, replicas, lambda value=value: value)  # type: ignore[misc]
        if wanted != replicas:
            changes.append((now, wanted))
        replicas, now = wanted, autoscaler.due_s
    assert changes == [
        (0.0, 1),  # the first poll, and one is all that is wanted in two minutes of it
        (425.0, 0),  # the first poll more than 300 s after the last active one, at 120 s
    ]


async def test_the_fallback_alone_would_leave_it_asleep(app: FastAPI) -> None:
    scaled = without_query(shipped())
    assert scaled.fallback is not None
    assert scaled.fallback.replicas == 1
    autoscaler, now = Autoscaler(scaled), 0.0
    assert await read(app, scaled) is None
    while now < 600:
        assert autoscaler.turn(now, 0, lambda: None) == 0
        now = autoscaler.due_s
