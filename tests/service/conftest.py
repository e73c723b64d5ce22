"""Doors on a real Redis, in the test's own event loop, with the toy model announced."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from typer.testing import CliRunner, Result

from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from service.application import create_app
from service.cli.main import app as cli
from service.settings import ServiceSettings
from tests.jobs.examples import MODEL
from tests.service.doors import client
from tests.service.keyed import Keyed, keyed_door

Command = Callable[..., Result]


@pytest.fixture
def jobs_settings(jobs_settings: JobsSettings) -> JobsSettings:
    """Give each test its own keys, and leases that last: a test that plays a worker renews none."""
    return jobs_settings.model_copy(update={"lease_s": 120.0})


@pytest.fixture(autouse=True)
def announcements_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a busy machine take its time: what a test announces, it announces once."""
    for name in ("WORKER", "WATCHED", "BATCH"):
        monkeypatch.setattr(f"jobs.redis.fleet.{name}_TTL_S", 600)


@pytest.fixture
def settings(jobs_settings: JobsSettings) -> ServiceSettings:
    """Return a door's settings; tests that need others make a copy."""
    return ServiceSettings(**jobs_settings.model_dump(), disconnect_grace_s=0.05, max_stream_s=0.2)


@pytest.fixture
async def announced(store: RedisStore) -> None:
    """Announce the toy model."""
    await store.announce_model(MODEL)


@pytest.fixture
async def app(settings: ServiceSettings, announced: None) -> AsyncIterator[FastAPI]:
    """Run the application's lifespan around a test."""
    application = create_app(settings)
    async with application.router.lifespan_context(application):
        yield application


@pytest.fixture
async def http(app: FastAPI) -> AsyncIterator[AsyncClient]:
    """Return a client that talks to the application in process."""
    async with client(app) as opened:
        yield opened


@pytest.fixture
async def keyed(jobs_settings: JobsSettings, announced: None) -> AsyncIterator[Keyed]:
    """Return a door that requires API keys."""
    async with keyed_door(jobs_settings) as opened:
        yield opened


@pytest.fixture
def command(jobs_settings: JobsSettings, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Return a function that runs ``sfumato`` on the test's Redis and checks its exit code."""
    monkeypatch.setenv("SFUMATO_REDIS_URL", jobs_settings.redis_url)
    monkeypatch.setenv("SFUMATO_KEY_PREFIX", jobs_settings.key_prefix)

    def run(*words: str, code: int = 0, **options: Any) -> Result:
        outcome = CliRunner().invoke(cli, words, **options)
        assert outcome.exit_code == code, outcome.output
        return outcome

    return run
