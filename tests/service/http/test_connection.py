"""Connections to the door under uvicorn: what a client may send, how slowly, and how many."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from time import process_time
from typing import cast
from urllib.parse import urlsplit

import pytest
from httpx import AsyncClient
from structlog.testing import capture_logs

from jobs.cancelling import end
from jobs.redis.store import RedisStore
from jobs.store import Preview
from service.http.connection import MAX_FIELDS, MAX_HEAD_BYTES, ConnectionLimits
from service.settings import ServiceSettings
from service.uvicorn_door import DoorServer
from tests.jobs.examples import MODEL, claim
from tests.service.served import served
from tests.service.worker import finish

PATIENT = ConnectionLimits(connections=20, head_s=60, body_s=60, stall_s=60)
HASTY = ConnectionLimits(connections=20, head_s=0.5, body_s=1.5, stall_s=0.5)
BEAT_S = 0.05
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
GET = b"GET /healthz HTTP/1.1\r\nhost: door\r\n"
POST = b"POST /v1/jobs HTTP/1.1\r\nhost: door\r\ncontent-type: application/json\r\n"


@pytest.fixture
def door(settings: ServiceSettings) -> Iterator[tuple[str, DoorServer]]:
    """Run a door that waits long: for clients that a busy machine makes slow."""
    with served(settings, limits=PATIENT) as running:
        yield running


@pytest.fixture
async def hasty(
    settings: ServiceSettings, store: RedisStore
) -> AsyncIterator[tuple[str, DoorServer]]:
    """Run a door that soon gives up: for clients that are slow on purpose."""
    await store.announce_model(MODEL)
    changes = {"body_timeout_s": 0.4, "keep_alive_s": 0.1}
    with served(settings.model_copy(update=changes), limits=HASTY) as running:
        yield running


@pytest.fixture
async def url(door: tuple[str, DoorServer], store: RedisStore) -> str:
    await store.announce_model(MODEL)
    return door[0]


@asynccontextmanager
async def connected(url: str, first: bytes = b"") -> AsyncIterator[Streams]:
    """Yield a connection, on which this is sent before the door can have waited for it."""
    parts = urlsplit(url)
    made = socket.create_connection((parts.hostname, parts.port))
    made.sendall(first)
    made.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=made)
    try:
        yield reader, writer
    finally:
        writer.transport.abort()


async def exchange(url: str, *pieces: bytes) -> bytes:
    """Send pieces; return all that comes until the door closes the connection."""
    first, *further = pieces or (b"",)
    async with asyncio.timeout(60), connected(url, first) as (reader, writer):
        try:
            for piece in further:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            pass  # the door has closed
        return await until_closed(reader)


async def until_closed(reader: asyncio.StreamReader) -> bytes:
    received = b""
    try:
        while part := await reader.read(65536):
            received += part
    except ConnectionError:
        pass
    return received


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """Check that the block takes so long at most, by what this process has of the machine."""
    beats = 0

    async def beat() -> None:
        nonlocal beats
        while True:  # one beat alone passes while the process stands still
            await asyncio.sleep(BEAT_S)
            beats += 1

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        await end(beating)
    assert beats * BEAT_S < seconds


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1]) if answer else 0


def code(answer: bytes) -> str:
    return str(json.loads(answer.partition(b"\r\n\r\n")[2])["code"])


def refusals(door: tuple[str, DoorServer], reason: str) -> float:
    counters = door[1]._app.state.counters
    return float(counters.connections_refused.labels(reason)._value.get())


FIELD = b"x-long: " + b"a" * MAX_HEAD_BYTES
CHUNKED = b"transfer-encoding: chunked\r\n\r\n"
TOO_LARGE = {
    "one long value": [GET, FIELD + b"\r\n\r\n"],
    "one endless value": [GET, FIELD, *[b"a" * 1000] * 100],
    "one long name": [GET, b"a" * (MAX_HEAD_BYTES + 1), b": b\r\n\r\n"],
    "long values": [GET, (b"x-long: " + b"a" * 1000 + b"\r\n") * 70, b"\r\n"],
    "many fields": [GET, b"x-a: b\r\n" * MAX_FIELDS, b"\r\n"],
    "a long line of trailers": [POST, CHUNKED + b"0\r\n", FIELD * 3],
    "many trailers": [POST, CHUNKED + b"0\r\n", b"x-a: b\r\n" * (MAX_FIELDS + 1), b"\r\n"],
    "empty lines": [b"\r\n" * MAX_HEAD_BYTES],
    "behind another request": [GET + b"\r\n", GET, FIELD * 3],
}


@pytest.mark.parametrize("what", TOO_LARGE)
async def test_too_large_a_head_is_431_and_the_connection_closed(
    door: tuple[str, DoorServer], url: str, what: str
) -> None:
    answer = await exchange(url, *TOO_LARGE[what])
    answer = answer[answer.rindex(b"HTTP/1.1") :]
    assert (status(answer), code(answer)) == (431, "headers_too_large")
    assert b"connection: close" in answer
    assert refusals(door, "too_large") == 1


async def test_too_long_a_target_is_414(url: str) -> None:
    answer = await exchange(url, b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nhost: a\r\n\r\n")
    assert (status(answer), code(answer)) == (414, "uri_too_long")


async def test_what_is_no_request_is_400(door: tuple[str, DoorServer], url: str) -> None:
    answer = await exchange(url, b"hello\r\n\r\n")
    assert (status(answer), code(answer)) == (400, "malformed_request")
    assert refusals(door, "malformed") == 1


async def test_large_head_within_the_bound_is_served(url: str) -> None:
    value = b"x-long: " + b"a" * 60_000 + b"\r\n"
    whole = GET + value + b"connection: close\r\n\r\n"
    for pieces in ([whole], [whole[i : i + 5000] for i in range(0, len(whole), 5000)]):
        assert status(await exchange(url, *pieces)) == 200


async def test_endless_value_costs_no_quadratic_time(
    settings: ServiceSettings, store: RedisStore
) -> None:
    """A piece costs the same at the end of a value as at its beginning."""
    limits = ConnectionLimits(20)

    async def seconds(url: str, pieces: int) -> float:
        began = process_time()
        await exchange(url, GET + b"x-long: ", *[b"a" * (70_000 // pieces)] * pieces)
        return process_time() - began

    with served(settings, limits=limits) as (url, _):
        few, many = await seconds(url, 500), await seconds(url, 4000)
    assert many < 8 * few * 3


async def test_gigabyte_of_one_value_is_soon_refused(
    door: tuple[str, DoorServer], url: str
) -> None:
    sent = 0
    async with asyncio.timeout(60), connected(url, GET + b"x-long: ") as (reader, writer):
        try:
            while sent < 2**30 and not reader.at_eof():
                writer.write(b"a" * 2**20)
                await writer.drain()
                sent += 2**20
                await asyncio.sleep(0.001)
        except ConnectionError:
            pass
        answer = await until_closed(reader)
    assert sent < 2**26
    assert not answer or status(answer) == 431
    assert refusals(door, "too_large") == 1


async def test_silent_connection_is_closed(hasty: tuple[str, DoorServer]) -> None:
    async with within(5):
        assert await exchange(hasty[0]) == b""
    assert refusals(hasty, "silent") == 1


@pytest.mark.parametrize("drip", [b"x", b"x: y\r\n", b""])
async def test_slow_head_is_408(hasty: tuple[str, DoorServer], drip: bytes) -> None:
    async with asyncio.timeout(60), connected(hasty[0], GET) as (reader, writer):

        async def dripping() -> None:
            while drip:
                await asyncio.sleep(0.05)
                writer.write(drip)

        task = asyncio.create_task(dripping())
        answer = await until_closed(reader)
        task.cancel()
    assert (status(answer), code(answer)) == (408, "request_timeout")
    assert refusals(hasty, "slow") == 1


async def test_slow_second_head_is_given_up_too(hasty: tuple[str, DoorServer]) -> None:
    for more in (GET, b"\r\n"):
        async with asyncio.timeout(60), connected(hasty[0], GET + b"\r\n") as (reader, writer):
            assert status(await reader.readuntil(b'"ok"}')) == 200
            writer.write(more)
            assert status(await until_closed(reader)) == 408


async def test_chunk_extension_does_not_go_on_for_ever(url: str) -> None:
    answer = await exchange(url, POST + CHUNKED + b"1;a=", FIELD * 3)
    assert status(answer) in (400, 431)


@pytest.mark.parametrize("announced", [b"content-length: 100\r\n\r\n", CHUNKED])
async def test_slow_body_is_408_and_the_connection_closed(
    hasty: tuple[str, DoorServer], announced: bytes
) -> None:
    answer = await exchange(hasty[0], POST + announced)
    assert (status(answer), code(answer)) == (408, "request_timeout")


async def test_body_nobody_reads_is_given_up(hasty: tuple[str, DoorServer]) -> None:
    request = b"POST /v1/nowhere HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\n"
    answer = await exchange(hasty[0], request)
    assert status(answer) == 404
    assert refusals(hasty, "slow") == 1


async def test_connections_beyond_the_bound_are_refused_and_the_others_served(
    door: tuple[str, DoorServer], url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.http.connection.LOG_EVERY_S", 3600.0)
    silent = [await asyncio.open_connection("127.0.0.1", urlsplit(url).port) for _ in range(19)]
    async with connected(url) as (reader, writer):
        writer.write(GET + b"\r\n")
        assert status(await reader.readuntil(b"\r\n")) == 200
        with capture_logs() as logs:
            for _ in range(3):
                answer = await exchange(url)
                assert (status(answer), code(answer)) == (503, "too_many_connections")
        assert [line["reason"] for line in logs if "reason" in line] == ["too_many"]
        writer.write(GET + b"\r\n")
        assert await reader.readuntil(b"HTTP/1.1 200")
    assert refusals(door, "too_many") == 3
    for _, each in silent:
        each.transport.abort()
    async with asyncio.timeout(60):
        while status(await exchange(url, GET + b"connection: close\r\n\r\n")) != 200:
            await asyncio.sleep(0.05)


async def test_client_that_closes_its_side_is_answered(url: str) -> None:
    body = b'{"prompt": "a", "on_disconnect": "cancel"}'
    async with asyncio.timeout(60), connected(url) as (reader, writer):
        writer.write(POST + b"content-length: %d\r\n\r\n" % len(body) + body)
        writer.write_eof()
        answer = await reader.read()
    final = answer[answer.rindex(b"HTTP/1.1") :]
    assert status(final) == 202


async def test_waiting_client_that_closes_its_side_gets_the_result(
    url: str, store: RedisStore
) -> None:
    body = b'{"prompt": "a", "on_disconnect": "cancel"}'
    async with asyncio.timeout(90), connected(url) as (reader, writer):
        writer.write(POST + b"prefer: wait=60\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        writer.write_eof()
        while not (await store.backlog("toy")).pending_jobs:
            await asyncio.sleep(0.02)
        await asyncio.sleep(1.2)  # longer than it takes to notice that a client has left
        await finish(store, await claim(store))
        answer = await reader.read()
    final = answer[answer.rindex(b"HTTP/1.1") :]
    assert status(final) == 200
    assert b'"status":"succeeded"' in final


async def test_reader_that_stops_is_let_go(
    hasty: tuple[str, DoorServer], store: RedisStore
) -> None:
    async with AsyncClient(base_url=hasty[0], trust_env=False, timeout=60) as http:
        job_id = (await http.post("/v1/jobs", json={"prompt": "a"})).json()["id"]
    held = await claim(store)
    asked = b"GET /v1/jobs/%s/events HTTP/1.1\r\nhost: a\r\n\r\n" % job_id.encode()
    async with asyncio.timeout(60), connected(hasty[0], asked) as (_, writer):
        cast(asyncio.Transport, writer.transport).pause_reading()
        while not refusals(hasty, "stalled"):
            await store.preview([Preview(held.lease, 0, 1, "image/png", b"a" * 500_000)])
            await asyncio.sleep(0.01)
    await finish(store, held)


async def test_door_stops_at_once_whatever_clients_hold_open(
    settings: ServiceSettings, store: RedisStore
) -> None:
    await store.announce_model(MODEL)
    with served(settings, limits=ConnectionLimits(20)) as (url, server):
        async with (
            connected(url),
            connected(url, GET),
            connected(url, POST + b"content-length: 100\r\n\r\n{") as (reader, _),
        ):
            there = server.server_state
            async with asyncio.timeout(60):
                while len(there.connections) < 3 or not there.tasks:
                    await asyncio.sleep(0.02)
            async with asyncio.timeout(60), within(2):
                server.handle_exit(0, None)
                answer = await until_closed(reader)
                while there.connections:
                    await asyncio.sleep(0.02)
            assert (status(answer), code(answer)) == (408, "request_timeout")
