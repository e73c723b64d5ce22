"""The door under load: submit and status at 1 and 16 connections, and beside 1,000 listeners."""

import asyncio
import contextlib
import itertools
import resource
import socket
from time import monotonic, perf_counter
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from jobs.store import Progress
from tests.benchmarks.doors.door_process import door_process
from tests.benchmarks.figures import quantile
from tests.benchmarks.own_redis import own_redis
from tests.jobs.examples import MODEL

SECONDS = 5.0
LISTENERS = 1000


async def _one(session: aiohttp.ClientSession, url: str, body: dict[str, Any] | None) -> str:
    call = session.get(url) if body is None else session.post(url, json=body)
    async with call as answer:
        assert answer.status in (200, 202), await answer.text()
        return str((await answer.json())["id"])


async def _load(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any] | None, connections: int
) -> dict[str, float]:
    taken: list[float] = []
    deadline = monotonic() + SECONDS

    async def client() -> None:
        while monotonic() < deadline:
            started = perf_counter()
            await _one(session, url, body)
            taken.append(1000 * (perf_counter() - started))

    await asyncio.gather(*(client() for _ in range(connections)))
    return {
        "p50_ms": round(quantile(taken, 0.5), 2),
        "p99_ms": round(quantile(taken, 0.99), 2),
        "per_s": round(len(taken) / SECONDS, 1),
    }


def _listen(url: str) -> socket.socket:
    """Open an event stream and return it once it has begun; what follows waits in the kernel."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    stream = socket.create_connection((parts.hostname, parts.port), timeout=30)
    stream.sendall(f"GET {parts.path} HTTP/1.1\r\nhost: door\r\n\r\n".encode())
    assert stream.recv(12) == b"HTTP/1.1 200"
    return stream


async def _beside_events(
    session: aiohttp.ClientSession, url: str, body: dict[str, Any], redis_url: str
) -> dict[str, Any]:
    """Return the time to submit while the job that all listen to reports every quarter second."""
    store = RedisStore(JobsSettings(redis_url=redis_url))
    claimed = await store.claim(MODEL.name, "benchmark", idle=True)
    assert claimed is not None

    async def report() -> None:
        for step in itertools.cycle(range(1, 10)):
            await store.progress([Progress(claimed.lease, step, float(step), step, 1.0)])
            await asyncio.sleep(0.25)

    reporting = asyncio.create_task(report())
    try:
        return {"submit_1_beside_events": await _load(session, f"{url}/v1/jobs", body, 1)}
    finally:
        reporting.cancel()
        await asyncio.gather(reporting, return_exceptions=True)
        await store.close()


async def _figures(url: str, listeners: int, redis_url: str) -> dict[str, Any]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as session:
        body = {"prompt": "a red apple", "seed": 1}
        job = f"{url}/v1/jobs/{await _one(session, f'{url}/v1/jobs', body)}"
        results: dict[str, Any] = {}
        for connections in (1, 16):
            results[f"submit_{connections}"] = await _load(
                session, f"{url}/v1/jobs", body, connections
            )
            results[f"status_{connections}"] = await _load(session, job, None, connections)
        with contextlib.ExitStack() as streams:
            for _ in range(listeners):
                streams.enter_context(await asyncio.to_thread(_listen, f"{job}/events"))
            results["listeners"] = listeners
            results["status_1_beside_listeners"] = await _load(session, job, None, 1)
            results |= await _beside_events(session, url, body, redis_url)
        quiet, busy = results["submit_1"], results["submit_1_beside_events"]
        busy["p50_ratio"] = round(busy["p50_ms"] / quiet["p50_ms"], 2)
        busy["p99_ratio"] = round(busy["p99_ms"] / quiet["p99_ms"], 2)
        return results


async def _announce(redis_url: str) -> None:
    store = RedisStore(JobsSettings(redis_url=redis_url))
    await store.announce_model(MODEL)
    await store.close()


def measure(kind: str, *, listeners: int = LISTENERS) -> dict[str, Any]:
    """Return p50 and p99 of one kind of door: ``serve`` or ``uvicorn``."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, max(soft, 8 * listeners))
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    with own_redis() as (redis_url, folder):
        asyncio.run(_announce(redis_url))
        with door_process(kind, redis_url, folder) as url:
            return asyncio.run(_figures(url, listeners, redis_url))
