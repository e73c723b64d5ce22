"""The door under load: submit and status at 1 and 16 connections, and beside 1,000 listeners."""

import asyncio
import resource
from time import monotonic, perf_counter
from typing import Any

import aiohttp

from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
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


async def _listen(session: aiohttp.ClientSession, url: str, opened: list[int]) -> None:
    async with session.get(url, timeout=aiohttp.ClientTimeout(total=None)) as answer:
        async for _ in answer.content:
            opened.append(1)
            break
        await asyncio.sleep(3600)


async def _figures(url: str, listeners: int) -> dict[str, Any]:
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
        opened: list[int] = []
        tasks = [
            asyncio.create_task(_listen(session, f"{job}/events", opened)) for _ in range(listeners)
        ]
        deadline = monotonic() + 60
        while len(opened) < listeners and monotonic() < deadline:
            await asyncio.sleep(0.05)
        results["listeners"] = len(opened)
        results["status_1_beside_listeners"] = await _load(session, job, None, 1)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
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
            return asyncio.run(_figures(url, listeners))
