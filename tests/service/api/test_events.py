"""Following a job over a real socket: order, resumption, keep-alives, departures, stopping."""

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from httpx import AsyncClient

from jobs.redis.store import RedisStore
from service.settings import ServiceSettings
from service.uvicorn_door import DoorServer
from tests.jobs.examples import MODEL, claim
from tests.service.api.stream import Frame, frames
from tests.service.doors import submit
from tests.service.served import served
from tests.service.worker import advance, finish


@pytest.fixture
def door(settings: ServiceSettings) -> Iterator[tuple[str, DoorServer]]:
    with served(settings.model_copy(update={"keep_alive_s": 0.2})) as running:
        yield running


@pytest.fixture
async def http(door: tuple[str, DoorServer], store: RedisStore) -> AsyncIterator[AsyncClient]:
    await store.announce_model(MODEL)
    async with AsyncClient(base_url=door[0], timeout=60, trust_env=False) as client:
        yield client


async def read(
    http: AsyncClient, job_id: str, after: str | None = None, seen: list[Frame] | None = None
) -> list[Frame]:
    """Return all events of a stream; those that have come so far are in ``seen``."""
    headers = {} if after is None else {"last-event-id": after}
    seen = [] if seen is None else seen
    async with http.stream("GET", f"/v1/jobs/{job_id}/events", headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        async for frame in frames(answer):
            if frame.kind:
                seen.append(frame)
    return seen


async def opened(http: AsyncClient, job_id: str) -> asyncio.Task[list[Frame]]:
    """Return a task that reads a stream, once the first event has come."""
    seen: list[Frame] = []
    following = asyncio.create_task(read(http, job_id, seen=seen))
    await until(lambda: seen or following.done())
    return following


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.01)


async def is_canceled(store: RedisStore, job_id: str) -> None:
    async with asyncio.timeout(60):
        while await status(store, job_id) != "canceled":
            await asyncio.sleep(0.02)


async def status(store: RedisStore, job_id: str) -> str:
    return str((await store.get(job_id)).status)


async def test_stream_runs_from_snapshot_to_result(http: AsyncClient, store: RedisStore) -> None:
    job_id = await submit(http)
    seen: list[Frame] = []
    following = asyncio.create_task(read(http, job_id, seen=seen))
    await until(lambda: seen)
    assert seen[0].kind == "status"
    assert seen[0].id is None
    assert seen[0].data["id"] == job_id
    assert seen[0].data["queue_position"] == 1
    held = await claim(store)
    await advance(store, held, 4, preview=True)
    await until(lambda: any(frame.kind == "preview" for frame in seen))
    await finish(store, held)
    await following
    progress = next(frame for frame in seen if frame.kind == "progress")
    wanted = {"step": 4, "total": 10, "eta_s": 1.5, "attempt": 1, "job": job_id}
    assert progress.data == wanted
    preview = next(frame for frame in seen if frame.kind == "preview")
    assert base64.b64decode(preview.data["data"]) == b"preview-4"
    assert (preview.data["content_type"], preview.data["of"]) == ("image/png", "estimate")
    assert seen[-1].kind == "result"
    assert seen[-1].data["status"] == "succeeded"
    assert seen[-1].data["attempt"] == 1
    ids = [frame.id for frame in seen[1:]]
    assert None not in ids
    assert ids == sorted(set(ids), key=lambda i: [int(n) for n in str(i).split("-")])


async def test_stream_resumes_after_the_last_event(http: AsyncClient, store: RedisStore) -> None:
    job_id = await submit(http)
    held = await claim(store)
    for step in range(1, 6):
        await advance(store, held, step)
    await finish(store, held)
    whole = await read(http, job_id)
    middle = next(i for i, frame in enumerate(whole) if frame.data.get("step") == 3)
    rest = await read(http, job_id, whole[middle].id)
    assert rest[0].kind == "status"
    assert [frame.id for frame in rest[1:]] == [frame.id for frame in whole[middle + 1 :]]
    oldest = await read(http, job_id, "1-1")
    assert [frame.id for frame in oldest[1:]] == [frame.id for frame in whole[1:]]


async def test_nothing_follows_the_result(http: AsyncClient, store: RedisStore) -> None:
    job_id = await submit(http)
    await finish(store, await claim(store))
    last = (await read(http, job_id))[-1]
    answer = await http.get(f"/v1/jobs/{job_id}/events", headers={"last-event-id": str(last.id)})
    assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("after", ["x", "1", "1-", "-1-1", "1-1-1", "9" * 30 + "-1", "+"])
async def test_malformed_event_id_is_400(http: AsyncClient, after: str) -> None:
    job_id = await submit(http)
    answer = await http.get(f"/v1/jobs/{job_id}/events", headers={"last-event-id": after})
    assert answer.status_code == 400
    assert answer.json()["code"] == "invalid_cursor"


async def test_silent_stream_carries_comments(http: AsyncClient) -> None:
    job_id = await submit(http)
    async with http.stream("GET", f"/v1/jobs/{job_id}/events") as answer, asyncio.timeout(60):
        comments = 0
        async for frame in frames(answer):
            comments += not frame.kind
            if comments == 3:
                break


async def test_stream_of_a_deleted_job_ends(http: AsyncClient, store: RedisStore) -> None:
    job_id = await submit(http)
    following = await opened(http, job_id)
    await store.delete(job_id)
    async with asyncio.timeout(60):
        await following


async def leave_stream(http: AsyncClient, job_id: str) -> None:
    async with http.stream("GET", f"/v1/jobs/{job_id}/events") as answer:
        async for _ in frames(answer):
            return


async def test_leaving_cancels_where_a_job_says_so(http: AsyncClient, store: RedisStore) -> None:
    kept = await submit(http)
    dropped = await submit(http, on_disconnect="cancel")
    await leave_stream(http, kept)
    await leave_stream(http, dropped)
    await is_canceled(store, dropped)
    assert await status(store, kept) == "queued"


async def test_job_lives_while_others_follow_it(http: AsyncClient, store: RedisStore) -> None:
    job_id = await submit(http, on_disconnect="cancel")
    staying = await opened(http, job_id)
    await leave_stream(http, job_id)
    await asyncio.sleep(0.3)  # longer than the grace time
    assert await status(store, job_id) == "queued"
    await finish(store, await claim(store))
    assert (await staying)[-1].kind == "result"


async def test_waiting_client_that_leaves_cancels(
    door: tuple[str, DoorServer], http: AsyncClient, store: RedisStore
) -> None:
    body = {"prompt": "a red apple", "on_disconnect": "cancel"}
    async with AsyncClient(base_url=door[0], trust_env=False, timeout=60) as impatient:
        waiting = asyncio.create_task(
            impatient.post("/v1/jobs", json=body, headers={"prefer": "wait=50"})
        )
        async with asyncio.timeout(60):
            while not (found := (await http.get("/v1/jobs")).json()["jobs"]):
                await asyncio.sleep(0.02)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await is_canceled(store, found[0]["id"])


async def test_stopping_door_ends_streams_and_waits_and_cancels_nothing(
    door: tuple[str, DoorServer], http: AsyncClient, store: RedisStore
) -> None:
    job_id = await submit(http, on_disconnect="cancel")
    following = await opened(http, job_id)
    waiting = asyncio.create_task(
        http.post("/v1/jobs", json={"prompt": "a pear"}, headers={"prefer": "wait=60"})
    )
    async with asyncio.timeout(60):
        while (await store.backlog("toy")).pending_jobs < 2:
            await asyncio.sleep(0.02)
    door[1].handle_exit(0, None)
    async with asyncio.timeout(60):
        seen = await following
        answer = await waiting
    assert seen[0].kind == "status"
    assert answer.status_code == 202
    assert await status(store, job_id) == "queued"
