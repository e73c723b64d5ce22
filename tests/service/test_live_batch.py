"""A worker's batch over HTTP, once and as a stream; the test plays the worker."""

import asyncio
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient

from jobs.errors import StoreUnavailable
from jobs.fleet import Batch, BatchChange
from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from service import live_batch
from service.auth.scope import Scope
from service.resources.batch import BatchView
from tests.jobs.examples import BATCH, submit, worker
from tests.service.api.stream import Frame, frames
from tests.service.doors import open_door
from tests.service.keyed import Keyed

DOCS = Path(__file__).parents[2] / "docs" / "observability.md"
URLS = ("/v1/workers/w/batch", "/v1/workers/w/batch/events")


async def play(store: RedisStore, batch: Batch = BATCH) -> None:
    """Announce a worker and publish its batch."""
    await store.announce_worker(worker(10.0, batch.worker))
    await store.publish_batch(batch)


async def test_the_batch_is_what_the_worker_publishes(http: AsyncClient, store: RedisStore) -> None:
    await play(store)
    await submit(store, "waiting")
    found = (await http.get("/v1/workers/w/batch")).json()
    assert found["images"] == [
        {
            "slot": 0, "job": "job", "image": 1, "step": 3, "steps": 10, "rows": 2,
            "in_pass": True, "width": 64, "height": 64, "sampler": "euler",
        }
    ]  # fmt: skip
    figures = {name: found[name] for name in ("rows", "rows_per_tick", "occupancy", "tick")}
    assert figures == {"rows": 2, "rows_per_tick": 8, "occupancy": 0.25, "tick": 17}
    assert (found["queued_jobs"], found["sequence"], found["totals"]) == (1, 3, {"admitted": 3})
    assert (await store.announce_worker(worker(10.0))).watched


async def test_changes_after_a_sequence_number(http: AsyncClient, store: RedisStore) -> None:
    await play(store)
    for since, numbers in (("", [1, 2, 3]), ("?since=2", [3]), ("?since=3", [])):
        found = (await http.get(f"/v1/workers/w/batch{since}")).json()
        assert [each["sequence"] for each in found["changes"]] == numbers
    loaded_again = (await http.get("/v1/workers/w/batch?since=9")).json()
    assert len(loaded_again["changes"]) == 3


async def test_a_worker_of_several_models_has_a_batch_for_each(
    http: AsyncClient, store: RedisStore
) -> None:
    await play(store, replace(BATCH, worker="w/toy"))
    assert (await http.get("/v1/workers/w/toy/batch")).json()["worker"] == "w/toy"
    assert (await http.get("/v1/workers/w%2Ftoy/batch")).json()["worker"] == "w/toy"
    answer = await http.get("/v1/workers/w/batch")
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_worker")


async def test_a_worker_that_does_not_answer_is_said_to_be_silent(
    http: AsyncClient, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_batch, "ANSWER_S", 0.05)
    await store.announce_worker(worker(10.0))
    await store.announce_worker(replace(worker(10.0, "idle"), loaded=False))
    for path, reason in (
        ("w/batch", "has not responded within"),
        ("w/batch/events", "has not responded within"),
        ("idle/batch", "has not loaded toy"),
    ):
        answer = await http.get(f"/v1/workers/{path}")
        assert (answer.status_code, answer.json()["code"]) == (503, "worker_silent")
        assert reason in answer.json()["detail"]
        assert int(answer.headers["retry-after"]) >= 1


async def test_the_batch_is_for_operators(keyed: Keyed, store: RedisStore) -> None:
    await play(store)
    for scope in (Scope.JOBS, Scope.METRICS):
        async with await keyed.caller("a", scope) as http:
            for url in URLS:
                answer = await http.get(url)
                assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    async with await keyed.caller("a", Scope.OPERATOR) as http:
        assert [(await http.head(url)).status_code for url in URLS] == [200, 200]


async def test_watching_counts_as_listening(jobs_settings: JobsSettings, store: RedisStore) -> None:
    await play(store)
    async with open_door(jobs_settings, max_listeners=1, max_stream_s=0.05) as (app, http):
        listeners = app.state.door.listeners
        for url in URLS:
            with listeners.listening("somebody"):
                answer = await http.get(url)
                assert (answer.status_code, answer.json()["code"]) == (429, "too_many_listeners")
            assert (await http.get(url)).status_code == 200
            assert listeners._all == 0


async def stream(http: AsyncClient, **headers: str) -> list[Frame]:
    """Return a stream's events once it has ended."""
    async with (
        asyncio.timeout(60),
        http.stream("GET", "/v1/workers/w/batch/events", headers=headers) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        return [frame async for frame in frames(answer) if frame.kind]


async def test_a_stream_shows_each_snapshot_once_and_says_when_the_worker_is_gone(
    jobs_settings: JobsSettings, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_batch, "POLL_S", 0.01)
    monkeypatch.setattr(live_batch, "ANSWER_S", 0.05)
    await play(store)
    async with open_door(jobs_settings, max_stream_s=300.0) as (app, _):
        shown = live_batch.frames(app.state.door, BATCH, None)
        kind, first = event(await anext(shown))
        assert (kind, [each["sequence"] for each in first["changes"]]) == ("batch", [1, 2, 3])
        new = BatchChange(4, "finished", 0, "job", 1, 105.0)
        later = replace(BATCH, at=1000.5, sequence=4, images=(), changes=(*BATCH.changes, new))
        await store.publish_batch(later)
        kind, second = event(await anext(shown))
        assert (kind, [each["kind"] for each in second["changes"]]) == ("batch", ["finished"])
        await store.retire_worker("w")
        assert event(await anext(shown)) == ("gone", {"worker": "w"})
        assert [frame async for frame in shown] == []


def event(frame: bytes) -> tuple[str, Any]:
    """Return an event's name and data."""
    fields = dict(line.split(": ", 1) for line in frame.decode().splitlines() if line)
    return fields["event"], json.loads(fields["data"])


async def test_a_stream_goes_on_after_the_last_change_that_was_seen(
    http: AsyncClient, store: RedisStore
) -> None:
    await play(store)
    (frame,) = await stream(http, **{"last-event-id": "2"})
    assert frame.id == "3"
    assert [each["sequence"] for each in frame.data["changes"]] == [3]
    answer = await http.get("/v1/workers/w/batch/events", headers={"last-event-id": "1-0"})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_cursor")


async def test_an_outage_ends_a_stream_so_that_its_client_reconnects(
    app: FastAPI, http: AsyncClient, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await play(store)
    calls = iter([BATCH])

    async def away(worker_id: str) -> Batch:
        for batch in calls:
            return batch
        raise StoreUnavailable("away")

    monkeypatch.setattr(live_batch, "POLL_S", 0.01)
    monkeypatch.setattr(app.state.door.store, "watch_batch", away)
    assert [frame.kind for frame in await stream(http)] == ["batch"]
    answer = await http.get("/v1/workers/w/batch")
    assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")


async def test_a_damaged_snapshot_is_none(store: RedisStore, redis: Any, prefix: str) -> None:
    redis.set(f"{prefix}:batch:w", b'{"worker": "w"}')
    assert await store.watch_batch("w") is None


def test_the_page_shows_a_batch_as_it_is() -> None:
    (example,) = re.findall(r"```json\n(.*?)```", DOCS.read_text(), re.DOTALL)
    shown = json.loads(example)
    assert BatchView.model_validate(shown).model_dump(mode="json") == shown
