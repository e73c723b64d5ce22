"""Many who follow a job: what they cost Redis, and how many there may be."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any

import pytest
from fastapi import FastAPI
from httpx import AsyncClient
from redis.asyncio.connection import AbstractConnection

from jobs.errors import JobNotFound
from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from service.door import Door
from service.http.event_stream import EventStream
from tests.jobs.examples import claim
from tests.service.api.stream import Frame, frames
from tests.service.doors import client, open_door, submit
from tests.service.keyed import keyed_door
from tests.service.worker import advance, finish

CROWD = 60


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Return how often each Redis command is sent by this process, and each with its key."""
    seen: Counter[str] = Counter()
    pack = AbstractConnection.pack_command
    pack_all = AbstractConnection.pack_commands

    def count(words: Sequence[object]) -> None:
        seen[str(words[0])] += 1
        if len(words) > 1:
            seen[f"{words[0]} {words[1]}"] += 1

    def one(self: AbstractConnection, *words: Any) -> object:
        count(words)
        return pack(self, *words)

    def many(self: AbstractConnection, given: list[tuple[Any, ...]]) -> object:
        given = list(given)
        for words in given:
            count(words)
        return pack_all(self, given)

    monkeypatch.setattr(AbstractConnection, "pack_command", one)
    monkeypatch.setattr(AbstractConnection, "pack_commands", many)
    return seen


async def sent(door: Door, job_id: str, after: str | None = None) -> list[tuple[str, str]]:
    """Follow a job through the store to its end; return the kinds and ids of its events."""
    batches = [batch async for batch in door.store.event_batches(job_id, after)]
    return [(event.kind, event.id) for batch in batches for event in batch]


@contextlib.asynccontextmanager
async def beside(*calls: Coroutine[Any, Any, Any]) -> AsyncIterator[list[asyncio.Task[Any]]]:
    """Run calls beside the block, and end them with it, also where it fails."""
    tasks = [asyncio.create_task(call) for call in calls]
    try:
        yield tasks
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: object, *, seconds: float = 60) -> None:
    assert callable(condition)
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.01)


@pytest.fixture
def woken_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have nobody look for what no wake-up has told of."""
    monkeypatch.setattr("jobs.redis.events.RECHECK_S", 600.0)


async def caught_up(door: Door, job_id: str) -> None:
    """Return once a crowd follows the job, and has read by itself what there was before."""
    hub = vars(door.store)["_hub"]

    def together() -> bool:
        channel, reader = hub._channels.get(job_id), vars(hub._reader)
        return (
            channel is not None
            and channel.task is not None
            and len(channel.listeners) == CROWD
            and not any(each.behind or each.waiting for each in channel.listeners)
            and not reader["_reads"]
            and reader["_task"].done()
        )

    await until(together)


@pytest.mark.usefixtures("woken_alone")
async def test_a_crowd_reads_as_often_as_one(
    app: FastAPI, http: AsyncClient, store: RedisStore, commands: Counter[str]
) -> None:
    door: Door = app.state.door
    job_id = await submit(http)
    held = await claim(store)
    following = [asyncio.create_task(sent(door, job_id)) for _ in range(CROWD)]
    await caught_up(door, job_id)
    commands.clear()
    for step in range(1, 11):
        await advance(store, held, step, preview=step % 3 == 0)
        await asyncio.sleep(0.03)
    await until(lambda: commands["XRANGE"])
    reads = commands["XRANGE"]
    await finish(store, held)
    async with asyncio.timeout(60):
        seen = await asyncio.gather(*following)
    assert all(each == seen[0] for each in seen)
    assert seen[0][-1][0] == "result"
    assert len(seen[0]) == len(set(seen[0]))
    assert 1 <= reads <= 25, "about one a wake-up, however many listen"


async def test_a_crowd_s_frames_are_made_once(
    app: FastAPI,
    http: AsyncClient,
    store: RedisStore,
    commands: Counter[str],
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("service.http.shared_frames.TTL_S", 600.0)  # a busy machine takes its time
    job_id = await submit(http)
    held = await claim(store)

    async def follow() -> int:
        async with http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
            return len([frame async for frame in frames(answer)])

    following = [asyncio.create_task(follow()) for _ in range(CROWD)]
    await caught_up(app.state.door, job_id)
    commands.clear()
    await finish(store, held)
    async with asyncio.timeout(60):
        await asyncio.gather(*following)
    assert 1 <= commands[f"HGETALL {prefix}:job:{job_id}"] <= 10


async def test_a_slow_listener_loses_nothing(
    app: FastAPI, http: AsyncClient, store: RedisStore
) -> None:
    door: Door = app.state.door
    job_id = await submit(http)
    held = await claim(store)
    slow = door.store.event_batches(job_id)
    first = await anext(slow)
    quick = asyncio.create_task(sent(door, job_id))
    for _ in range(15):
        for step in range(1, 10):
            await advance(store, held, step)
        await asyncio.sleep(0.02)
    await finish(store, held)
    async with asyncio.timeout(60):
        whole = await quick
        rest = [(e.kind, e.id) for batch in [first, *[b async for b in slow]] for e in batch]
    assert rest == whole
    assert len(rest) > 100


@pytest.mark.parametrize("when", ["queued", "running", "ended"])
async def test_an_id_from_the_future_counts_as_none(
    app: FastAPI, http: AsyncClient, store: RedisStore, when: str
) -> None:
    job_id = await submit(http)
    future = "99999999999999-0"

    async def follow() -> list[Frame]:
        headers = {"last-event-id": future}
        async with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
            assert answer.status_code == 200
            return [frame async for frame in frames(answer)]

    if when != "queued":
        held = await claim(store)
    if when == "ended":
        await finish(store, held)
    following = asyncio.create_task(follow())
    if when != "ended":
        await until(lambda: job_id in app.state.door.followers)
        await finish(store, held if when == "running" else await claim(store))
    async with asyncio.timeout(60):
        seen = await following
    assert seen[-1].kind == "result"


async def test_an_empty_event_id_is_none(http: AsyncClient, store: RedisStore) -> None:
    job_id = await submit(http)
    await finish(store, await claim(store))
    answer = await http.get(f"/v1/jobs/{job_id}/events", headers={"last-event-id": ""})
    assert answer.status_code == 200
    assert "event: result" in answer.text


async def crowded(app: FastAPI, http: AsyncClient, url: str, many: int) -> list[int]:
    """Open streams that stay open; return their statuses, once each is open or refused."""
    listeners = app.state.door.listeners
    before = listeners._all
    async with beside(*(http.get(url) for _ in range(many))) as tasks:
        await until(lambda: listeners._all - before + sum(t.done() for t in tasks) == many)
        return sorted(task.result().status_code if task.done() else 200 for task in tasks)


async def count(http: AsyncClient) -> int:
    """Return how many jobs there are."""
    return len((await http.get("/v1/jobs")).json()["jobs"])


@pytest.fixture
async def bounded(jobs_settings: JobsSettings, announced: None) -> AsyncIterator[FastAPI]:
    limits = {"max_listeners": 3, "max_listeners_per_caller": 2, "max_wait_s": 300}
    async with open_door(jobs_settings, **limits) as (app, _):
        yield app


async def test_streams_and_waits_are_bounded_for_an_address_and_in_all(bounded: FastAPI) -> None:
    async with (
        client(bounded, address="192.0.2.1") as one,
        client(bounded, address="2001:db8::1") as two,
        client(bounded, address="2001:db8::2") as same,
        client(bounded, address="192.0.2.4") as four,
    ):
        url = f"/v1/jobs/{await submit(one)}/events"
        assert sorted(await crowded(bounded, one, url, 3)) == [200, 200, 429]
        async with beside(
            *(two.post("/v1/jobs", json={"prompt": "a"}, headers=WAIT) for _ in range(2))
        ):
            await until(lambda: bounded.state.door.listeners._all == 2)
            refused = await same.get(url)
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_listeners")
            assert int(refused.headers["retry-after"]) >= 1
            async with asyncio.timeout(60):  # the places are taken before the jobs are stored
                while await count(one) < 3:
                    await asyncio.sleep(0.01)
            posted = await same.post("/v1/jobs", json={"prompt": "a"}, headers=WAIT)
            assert posted.status_code == 429
            assert await count(one) == 3
            assert sorted(await crowded(bounded, four, url, 2)) == [200, 429]
            assert (await same.post("/v1/jobs", json={"prompt": "a"})).status_code == 202
    assert bounded.state.door.listeners._all == 0


WAIT = {"prefer": "wait=300"}


async def test_a_wait_for_the_end_reads_no_event(
    http: AsyncClient, store: RedisStore, commands: Counter[str]
) -> None:
    waiting = asyncio.create_task(http.post("/v1/jobs", json={"prompt": "a"}, headers=WAIT))
    async with asyncio.timeout(60):
        while not (await store.backlog("toy")).pending_jobs:
            await asyncio.sleep(0.01)
        held = await claim(store)
        for step in range(1, 6):
            await advance(store, held, step, preview=True)
            await asyncio.sleep(0.02)
        await finish(store, held)
        answer = await waiting
    assert (answer.status_code, answer.json()["status"]) == (200, "succeeded")
    assert commands["XRANGE"] + commands["XREAD"] == 0


@pytest.mark.usefixtures("woken_alone")
async def test_a_wait_ends_with_its_job_however_that_ends(
    store: RedisStore, app: FastAPI, http: AsyncClient
) -> None:
    waiting = vars(app.state.door.store)["_hub"]._waiting
    for ending in (store.cancel, store.delete):
        job_id = (await http.post("/v1/jobs", json={"prompt": "a"})).json()["id"]
        waits = [asyncio.create_task(app.state.door.store.ended(job_id)) for _ in range(3)]
        async with asyncio.timeout(60):
            while len(waiting.get(job_id, ())) < len(waits):
                await asyncio.sleep(0.01)
        assert not any(wait.done() for wait in waits)
        await ending(job_id)
        async with asyncio.timeout(60):
            await asyncio.gather(*waits)
    with pytest.raises(JobNotFound):
        await store.ended("nobody")


async def test_listeners_are_bounded_for_a_key(
    jobs_settings: JobsSettings, announced: None
) -> None:
    async with (
        keyed_door(jobs_settings, max_listeners_per_caller=1) as door,
        await door.caller("a") as one,
        await door.caller("a") as other,
        door.client(None) as anyone,
    ):
        job = (await one.post("/v1/jobs", json={"prompt": "a"})).json()
        url = f"/v1/jobs/{job['id']}/events"
        assert await crowded(door.app, one, url, 2) == [200, 429]
        assert await crowded(door.app, other, url, 1) == [200]
        assert await crowded(door.app, anyone, job["events_url"], 2) == [200, 429]


async def test_a_client_that_does_not_read_ends_its_stream() -> None:
    ended: list[str] = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"data: a\n\n"

    async def stuck(message: object) -> None:
        if isinstance(message, dict) and message["type"] == "http.response.body":
            await asyncio.sleep(3600)

    async def silent() -> dict[str, str]:
        await asyncio.sleep(3600)
        return {}

    stream = EventStream(
        endless(),  # type: ignore[arg-type]
        keep_alive_s=10,
        closing=asyncio.get_running_loop().create_future(),
        on_left=lambda: ended.append("left"),
        on_end=lambda: ended.append("end"),
        send_timeout_s=0.05,
    )
    async with asyncio.timeout(60):
        await stream({"type": "http"}, silent, stuck)
    assert ended == ["left", "end"]
