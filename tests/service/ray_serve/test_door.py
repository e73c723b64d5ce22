"""The real front door: Ray Serve behind HAProxy, as a child process, with the test as worker."""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from httpx import AsyncClient

from jobs.host.addresses import check_free
from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from service.processes.ports import free_port
from tests.jobs.examples import MODEL, claim
from tests.processes import wait
from tests.service.api.stream import frames
from tests.service.worker import PNG, advance, draw, finish

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

START_S = 240
STOP_S = 20


@dataclass
class Running:
    """A door with its process."""

    url: str
    settings: JobsSettings
    process: "subprocess.Popen[bytes]"
    log: Path


@contextlib.contextmanager
def serve_door(settings: JobsSettings, folder: Path) -> Iterator[Running]:
    """Run a Serve door and wait until it is ready."""
    folder.mkdir()
    port = free_port()
    env = os.environ | {
        "SFUMATO_REDIS_URL": settings.redis_url,
        "SFUMATO_KEY_PREFIX": settings.key_prefix,
        "SFUMATO_LEASE_S": str(settings.lease_s),
        "SFUMATO_DISCONNECT_GRACE_S": "0.1",
        "SFUMATO_LOG_FORMAT": "json",
    }
    command = [sys.executable, "-m", "service.ray_serve.door", "--port", str(port)]
    log = folder / "door.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            [*command, "--data", str(folder / "door")],
            env=env,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_S
        while b"\nready " not in log.read_bytes():
            assert process.poll() is None, log.read_text()[-4000:]
            assert time.monotonic() < deadline, log.read_text()[-4000:]
            time.sleep(0.1)
        yield Running(f"http://127.0.0.1:{port}", settings, process, log)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def mentions(word: str) -> list[str]:
    """Return the command lines of living processes that hold this word."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
            if word in line:
                found.append(line)
    return found


async def test_job_goes_through_the_real_door(
    jobs_settings: JobsSettings, store: RedisStore, tmp_path: Path
) -> None:
    await store.announce_model(MODEL)
    with serve_door(jobs_settings, tmp_path / "a") as door:
        async with AsyncClient(base_url=door.url, timeout=60, trust_env=False) as http:
            await follows_a_job(http, store)
            await waits_for_a_job(http, store)
            await refuses_what_is_too_large(http)
            await refuses_what_is_no_request(door)
            await answers_head_and_redirects_nowhere(http)
            await cancels_when_the_client_leaves(http, store)
            await feeds_hundreds_of_streams(http, store)
            await stops_while_clients_wait(http, store, door)


async def follows_a_job(http: AsyncClient, store: RedisStore) -> None:
    answer = await http.post("/v1/jobs", json={"prompt": "a red apple"})
    assert answer.status_code == 202
    assert len(answer.headers.get_list("x-request-id")) == 1
    job_id = answer.json()["id"]
    kinds = []
    async with http.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        async for frame in frames(stream):
            kinds.append(frame.kind)
            if len(kinds) == 1:
                held = await claim(store)
                await advance(store, held, 5, preview=True)
                await finish(store, held)
    assert kinds[0] == "status"
    assert "preview" in kinds
    assert kinds[-1] == "result"
    assert (await http.get(f"/v1/jobs/{job_id}/images/0")).content == PNG


async def waits_for_a_job(http: AsyncClient, store: RedisStore) -> None:
    waiting = asyncio.create_task(
        http.post("/v1/jobs", json={"prompt": "a pear"}, headers={"prefer": "wait=60"})
    )
    async with asyncio.timeout(60):
        while not (await store.backlog("toy")).pending_jobs:
            await asyncio.sleep(0.02)
    await draw(store)
    answer = await waiting
    assert answer.status_code == 200
    assert answer.json()["status"] == "succeeded"


async def refuses_what_is_too_large(http: AsyncClient) -> None:
    answer = await http.post(
        "/v1/jobs",
        content=b" " * 100_000_000,
        headers={"content-type": "application/json"},
    )
    assert answer.status_code == 413
    assert answer.json()["code"] == "body_too_large"


async def refuses_what_is_no_request(door: Running) -> None:
    for sent in (b"hello\r\n\r\n", b"GET / HTTP/1.1\r\nhost: a\r\nx-long: " + b"a" * 1_000_000):
        async with held_open(door, sent) as (reader, _), asyncio.timeout(60):
            try:
                head = await reader.read()
            except ConnectionError:  # closed with data unread
                continue
        assert head.startswith(b"HTTP/1.1 400"), head


@contextlib.asynccontextmanager
async def held_open(
    door: Running, sent: bytes
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """Yield a connection on which this has been sent."""
    reader, writer = await asyncio.open_connection("127.0.0.1", int(door.url.rpartition(":")[2]))
    writer.write(sent)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def answers_head_and_redirects_nowhere(http: AsyncClient) -> None:
    head = await http.head("/v1/models")
    assert (head.status_code, head.content) == (200, b"")
    for path in ("/v1/jobs/", "/nowhere"):
        answer = await http.post(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def cancels_when_the_client_leaves(http: AsyncClient, store: RedisStore) -> None:
    body = {"prompt": "a fig", "on_disconnect": "cancel"}
    job_id = (await http.post("/v1/jobs", json=body)).json()["id"]
    async with http.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
        async for _ in frames(stream):
            break
    async with asyncio.timeout(60):
        while (await store.get(job_id)).status != "canceled":
            await asyncio.sleep(0.05)


async def feeds_hundreds_of_streams(http: AsyncClient, store: RedisStore) -> None:
    """Hundreds of clients follow one job to its end through one replica."""
    job_id = (await http.post("/v1/jobs", json={"prompt": "a plum"})).json()["id"]
    opened = asyncio.Semaphore(0)

    async def follow(client: AsyncClient) -> str:
        last = ""
        async with client.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
            async for frame in frames(stream):
                if not last:
                    opened.release()
                last = frame.kind or last
        return last

    count = 300
    limits = httpx.Limits(max_connections=count)
    async with AsyncClient(
        base_url=str(http.base_url), timeout=120, trust_env=False, limits=limits
    ) as many:
        following = [asyncio.create_task(follow(many)) for _ in range(count)]
        async with asyncio.timeout(120):
            for _ in range(count):
                await opened.acquire()
        assert (await http.get(f"/v1/jobs/{job_id}")).status_code == 200
        await draw(store)
        assert set(await asyncio.gather(*following)) == {"result"}


async def stops_while_clients_wait(http: AsyncClient, store: RedisStore, door: Running) -> None:
    body = {"prompt": "a date", "on_disconnect": "cancel"}
    job_id = (await http.post("/v1/jobs", json=body)).json()["id"]
    note = (door.log.parent / "door" / "ray-folder").read_text()
    assert mentions(note)

    async def follow() -> None:
        with contextlib.suppress(httpx.HTTPError):
            async with http.stream("GET", f"/v1/jobs/{job_id}/events") as stream:
                async for _ in frames(stream):
                    pass

    head = b"POST /v1/jobs HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
    following = asyncio.create_task(follow())
    async with (
        held_open(door, head + b"content-length: 100000\r\n\r\n{") as upload,
        held_open(door, head),
        held_open(door, b""),
    ):
        await asyncio.sleep(0.5)
        door.process.terminate()
        async with asyncio.timeout(STOP_S):
            while door.process.poll() is None:
                upload[1].write(b" ")  # slow, but not silent
                await asyncio.sleep(0.05)
            await following
    assert door.process.returncode == 0
    wait("the end of all of Ray", lambda: not mentions(note))
    assert not Path(note).exists()
    check_free("127.0.0.1", int(door.url.rpartition(":")[2]))
    assert (await store.get(job_id)).status == "queued"  # a door that stops cancels nothing
