"""A door on a real Redis, in the test's own event loop, with the toy model announced."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI

from jobs.redis_store import RedisStore
from jobs.settings import JobsSettings
from service.application import create_app
from service.settings import ServiceSettings
from tests.jobs.examples import MODEL


@pytest.fixture
def settings(jobs_settings: JobsSettings) -> ServiceSettings:
    """Return a door's settings; tests that need others make a copy."""
    return ServiceSettings(**jobs_settings.model_dump(), disconnect_grace_s=0.05)


@pytest.fixture
async def app(settings: ServiceSettings, redis_store: RedisStore) -> AsyncIterator[FastAPI]:
    """Run the application's lifespan around a test."""
    await redis_store.announce_model(MODEL)
    application = create_app(settings)
    async with application.router.lifespan_context(application):
        yield application


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Return a client that talks to the application in process."""
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://door") as client:
        yield client
