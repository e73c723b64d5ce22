"""One stream of many jobs' events."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import httpx
import pytest
from httpx import AsyncClient

from jobs.redis.store import RedisStore
from service.settings import ServiceSettings
from tests.jobs.examples import claim
from tests.service.api.stream import Frame, frames
from tests.service.doors import submit
from tests.service.keyed import Keyed
from tests.service.served import served
from tests.service.worker import advance, draw, finish

MANY = 60


@asynccontextmanager
async def opened(settings: ServiceSettings) -> AsyncIterator[AsyncClient]:
    with served(settings) as (url, _):
        async with AsyncClient(base_url=url, timeout=60) as http:
            yield http


@asynccontextmanager
async def stream(
    http: AsyncClient, timeout_s: float = 90, **options: Any
) -> AsyncIterator[AsyncIterator[Frame]]:
    async with (
        http.stream("GET", "/v1/events", **options) as answer,
        asyncio.timeout(timeout_s),
        aclosing(frames(answer)) as read,  # type: ignore[type-var]
    ):
        assert answer.status_code == 200, await answer.aread()
        yield read


async def test_many_jobs_are_followed_to_their_ends_over_one_stream(
    settings: ServiceSettings, announced: None, store: RedisStore
) -> None:
    seen: dict[str, list[str]] = defaultdict(list)
    async with opened(settings) as http:
        ids = [await submit(http) for _ in range(MANY)]

        async def work() -> None:
            for _ in range(MANY):
                held = await claim(store)
                await advance(store, held, 3, preview=True)
                await finish(store, held)

        async with stream(http, params={"job": ids}) as read:
            working = None
            async for event in read:
                if event.kind:
                    seen[event.data["job"]].append(event.kind)
                if working is None and len(seen) == MANY:
                    working = asyncio.create_task(work())
            assert working is not None
            await working
    assert seen.keys() == set(ids)
    for kinds in seen.values():
        assert (kinds[0], kinds[-1]) == ("status", "result")
        assert {"progress", "preview"} <= set(kinds)
        assert kinds.count("result") == 1


@pytest.mark.full
async def test_five_hundred_jobs_are_followed_over_one_stream(
    settings: ServiceSettings, announced: None, store: RedisStore
) -> None:
    """All of the caller's: those that wait when it begins, one of them behind many that ended."""
    settings = settings.model_copy(update={"max_stream_s": 240.0})
    ended: set[str] = set()
    async with opened(settings) as http:
        jobs = [await submit(http) for _ in range(150)]
        for _ in range(149):
            await draw(store)
        jobs += [await submit(http) for _ in range(499)]
        there = {job for job in jobs if not (await store.get(job)).status.ended}
        async with stream(http, timeout_s=240) as read:
            followed: set[str] = set()
            drawing = None
            async for event in read:
                if event.kind == "status":
                    followed.add(event.data["job"])
                if event.kind == "result":
                    ended.add(event.data["job"])
                if drawing is None and followed == there:
                    drawing = asyncio.create_task(draw_all(store))
                if ended == there:
                    break
            assert drawing is not None
            await drawing
    assert ended == there


async def draw_all(store: RedisStore) -> None:
    for _ in range(500):
        await draw(store)


async def test_without_ids_the_jobs_to_come_are_followed(
    settings: ServiceSettings, announced: None, store: RedisStore
) -> None:
    async with opened(settings.model_copy(update={"max_stream_s": 300.0})) as http:
        await submit(http)
        await draw(store)  # ended before
        async with stream(http) as read:
            first = await submit(http)
            seen = []
            async for event in read:
                if not event.kind:
                    continue
                seen.append((event.data["job"], event.kind))
                if seen == [(first, "status")]:
                    await draw(store)
                if event.kind == "result":
                    break
    assert {job for job, _ in seen} == {first}


async def test_it_goes_on_where_it_was(
    settings: ServiceSettings, announced: None, store: RedisStore
) -> None:
    async with opened(settings) as http:
        ids = [await submit(http) for _ in range(2)]
        helds = [await claim(store) for _ in range(2)]
        last = None
        async with stream(http, params={"job": ids}) as read:
            for held in helds:
                await advance(store, held, 2)
            async for event in read:
                if event.kind == "progress":
                    last = event.id
                    break
        for held in helds:
            await advance(store, held, 5)
            await finish(store, held)
        headers = {"last-event-id": last or ""}
        ended, steps = set(), defaultdict(set)
        async with stream(http, params={"job": ids}, headers=headers) as read:
            async for event in read:
                if event.kind == "progress":
                    steps[event.data["job"]].add(event.data["step"])
                if event.kind == "result":
                    ended.add(event.data["job"])
    assert ended == set(ids)
    assert all(5 in each for each in steps.values())


async def test_all_of_the_caller_s_go_on_where_they_were(
    settings: ServiceSettings, announced: None, store: RedisStore
) -> None:
    async with opened(settings.model_copy(update={"max_stream_s": 300.0})) as http:
        job = await submit(http)
        held = await claim(store)
        async with stream(http) as read:
            await advance(store, held, 2)
            async for event in read:
                if event.kind == "progress":
                    break
        await finish(store, held)  # while nobody listens
        async with stream(http, headers={"last-event-id": event.id or ""}) as read:
            async for event in read:
                if event.kind == "result":
                    break
    assert event.data["job"] == job


async def test_jobs_that_are_not_there_and_strangers_are_gone(
    keyed: Keyed, store: RedisStore
) -> None:
    async with await keyed.caller("ann") as ann, await keyed.caller("bob") as bob:
        hers = await submit(ann)
        await draw(store)
        answer = await bob.get("/v1/events", params={"job": [hers, "nothing"]})
        assert answer.text.count("event: gone") == 2
        assert "red apple" not in answer.text
        answer = await ann.get("/v1/events", params={"job": [hers, hers]})
        assert answer.text.count("event: status") == 1


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"params": {"job": "../x"}}, 422),
        ({"params": {"job": ["a"] * 401}}, 422),
        ({"headers": {"last-event-id": "x"}}, 400),
    ],
)
async def test_what_is_malformed_is_refused(
    http: AsyncClient, options: dict[str, Any], status: int
) -> None:
    answer: httpx.Response = await http.get("/v1/events", **options)
    assert answer.status_code == status, answer.text
