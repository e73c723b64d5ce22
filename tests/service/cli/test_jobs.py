"""``sfumato jobs`` against a door behind a socket."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from jobs.redis.store import RedisStore
from service.cli.main import app
from service.settings import ServiceSettings
from tests.jobs.examples import claim
from tests.service.doors import submit
from tests.service.served import served
from tests.service.worker import advance, draw, finish

Run = Callable[..., Coroutine[Any, Any, str]]


@pytest.fixture
async def door(
    settings: ServiceSettings, announced: None
) -> AsyncIterator[tuple[httpx.AsyncClient, Run]]:
    """Return a client of a door, and a function that runs the command against it."""
    with served(settings) as (url, _):

        async def run(*words: str, code: int = 0) -> str:
            outcome = await asyncio.to_thread(
                CliRunner().invoke, app, ["jobs", *words, "--url", url]
            )
            assert outcome.exit_code == code, outcome.output
            return outcome.output

        async with httpx.AsyncClient(base_url=url, timeout=60) as http:
            yield http, run


async def test_jobs_are_listed_and_shown(
    door: tuple[httpx.AsyncClient, Run], store: RedisStore
) -> None:
    http, run = door
    first = await submit(http, prompt="a red apple\non a table", seed=7)
    await draw(store)
    second = await submit(http, prompt="x" * 100)
    lines = (await run("list")).splitlines()
    assert [line.split()[:2] for line in lines] == [
        ["job", "status"], [second, "queued"], [first, "succeeded"],
    ]  # fmt: skip
    assert lines[2].endswith("a red apple on a table")
    assert lines[1].endswith("…")
    assert [j["id"] for j in json.loads(await run("list", "--json", "--limit", "1"))] == [second]
    assert first in await run("list", "--status", "succeeded")
    shown = await run("show", first)
    assert "seed" in shown
    assert "\n\nimage" not in shown
    assert f"/v1/jobs/{first}/images/0" in shown
    assert json.loads(await run("show", first, "--json"))["request"]["seed"] == 7


async def test_a_job_is_watched_to_its_end(
    door: tuple[httpx.AsyncClient, Run], store: RedisStore, tmp_path: Path
) -> None:
    http, run = door
    job = await submit(http)
    watching = asyncio.create_task(run("watch", job, "--out", str(tmp_path)))
    await asyncio.sleep(0.1)
    held = await claim(store)
    await advance(store, held, 5)
    await finish(store, held)
    assert "saved" in await watching
    assert len(list(tmp_path.iterdir())) == 1


async def test_jobs_are_finished_cancelled_and_deleted(
    door: tuple[httpx.AsyncClient, Run], store: RedisStore
) -> None:
    http, run = door
    ids = [await submit(http) for _ in range(3)]
    assert "has not begun" in await run("finish", ids[0], code=4)
    held = await claim(store)
    await advance(store, held, 3)
    assert (await run("finish", ids[0])).strip() == f"{ids[0]} ends now"
    acknowledged = await store.progress([])
    assert acknowledged.finishing == frozenset()
    assert (await run("cancel", *ids[1:])).splitlines() == [f"{i} is canceled" for i in ids[1:]]
    await finish(store, held)
    assert (await run("cancel", ids[0])).strip() == f"{ids[0]} has ended: succeeded"
    assert (await run("finish", ids[0])).strip() == f"{ids[0]} has ended: succeeded"
    assert (await run("finish", ids[1])).strip() == f"{ids[1]} has ended: canceled"
    assert (await run("delete", ids[0])).strip() == f"{ids[0]} is deleted"
    assert "sfumato:" in await run("show", ids[0], code=4)


async def test_a_watched_job_that_fails_is_an_error(
    door: tuple[httpx.AsyncClient, Run], store: RedisStore, tmp_path: Path
) -> None:
    http, run = door
    job = await submit(http)
    await store.cancel(job)
    assert "canceled" in await run("watch", job, "--out", str(tmp_path), code=1)
