"""What one Redis does for one job: commands, bytes and processor time by kind of call."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from redis.asyncio import Redis

from jobs.queue import Doorbell
from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from jobs.store import Checkpoint, Claim, Preview, Progress
from tests.jobs.examples import MODEL, picture, spec

JOBS = 400
PREVIEW_BYTES = 6_000  # of the shipped model's 64×64 pictures: PNG
IMAGE_BYTES = 8_000
STATE_SHAPE = (2, 4, 16, 16)  # K, C, h, w of float32: 8 KiB
FOLLOWERS = (0, 1, 10, 100)
"""Connections that hear of every event: one a door replica."""
SECONDS_A_JOB = {"progress": 10, "preview": 5, "checkpoint": 1, "renew": 1}
"""Calls a second of a running job, with the default settings."""


class Meter:
    """Reads what the server has spent so far."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url)

    async def read(self) -> dict[str, float]:
        """Return commands, bytes and seconds of processor time since the server's start."""
        info = await self._redis.info()
        return {
            "commands": float(info["total_commands_processed"]),
            "bytes_in": float(info["total_net_input_bytes"]),
            "bytes_out": float(info["total_net_output_bytes"]),
            "cpu_us": 1e6 * (info["used_cpu_user"] + info["used_cpu_sys"]),
        }

    async def of(self, calls: list[Awaitable[object]]) -> dict[str, float]:
        """Return what one of these calls costs, in the mean; sixteen go at a time."""
        before = await self.read()
        for first in range(0, len(calls), 16):
            await asyncio.gather(*calls[first : first + 16])
        after = await self.read()
        return {key: round((after[key] - before[key]) / len(calls), 1) for key in after}

    async def close(self) -> None:
        """Release the connection."""
        await self._redis.aclose()


async def _phases(url: str, meter: Meter, jobs: int) -> dict[str, dict[str, float]]:
    settings = JobsSettings(redis_url=url, lease_s=600)
    store, bell = RedisStore(settings), Doorbell(settings)
    await store.announce_model(MODEL)
    example = spec(num_inference_steps=25, guidance_scale=3.0)
    ids = [f"job{i}-of-{jobs}" for i in range(jobs)]
    found = {"create": await meter.of([store.create(i, example, 50.0) for i in ids])}
    found["ring"] = await meter.of([bell.ring(MODEL.name, i) for i in ids])
    found["status"] = await meter.of([store.get(i) for i in ids])
    claims: list[Claim] = []

    async def claim() -> None:
        claim = await store.claim(MODEL.name, "w", idle=False)
        assert claim is not None
        claims.append(claim)

    found["claim"] = await meter.of([claim() for _ in ids])
    for name, call in _while_running(store).items():
        found[name] = await meter.of([call(claim) for claim in claims])
    drawn = picture(0, bytes(IMAGE_BYTES))
    found["add_image"] = await meter.of([store.add_image(c.lease, drawn) for c in claims])
    found["finish"] = await meter.of([store.finish(c.lease, 50) for c in claims])
    await store.close()
    bell.close()
    return found


def _while_running(store: RedisStore) -> dict[str, Callable[[Claim], Awaitable[object]]]:
    def checkpoint(claim: Claim) -> Awaitable[object]:
        k, c, h, w = STATE_SHAPE
        state = Checkpoint(0, 10, "identity", STATE_SHAPE, bytes(4 * k * c * h * w))
        return store.checkpoint(claim.lease, [state])

    return {
        "progress": lambda c: store.progress([Progress(c.lease, 5, 10.0, 10, 1.0)]),
        "preview": lambda c: store.preview(
            [Preview(c.lease, 0, 5, "image/png", bytes(PREVIEW_BYTES))]
        ),
        "checkpoint": checkpoint,
        "renew": lambda c: store.renew([c.lease]),
    }


async def _fan_out(url: str, meter: Meter) -> dict[str, float]:
    """Return microseconds of a PUBLISH by how many connections hear it."""
    costs = {}
    for followers in FOLLOWERS:
        listeners = [Redis.from_url(url).pubsub() for _ in range(followers)]
        for listener in listeners:
            await listener.subscribe("wake")
        caller = Redis.from_url(url)
        found = await meter.of([caller.publish("wake", "job") for _ in range(1000)])
        costs[str(followers)] = found["cpu_us"]
        for listener in listeners:
            await listener.aclose()  # type: ignore[no-untyped-call]
        await caller.aclose()
    return costs


def bound(calls: dict[str, dict[str, float]], running_s: float) -> dict[str, float]:
    """Return what a job that runs so long costs one Redis, and how many a second fill its core."""
    times = {"create": 1, "ring": 2, "claim": 1, "add_image": 1, "finish": 1, "status": 1}
    steady = {name: each * running_s for name, each in SECONDS_A_JOB.items()}
    total = {
        key: sum(calls[name][key] * n for name, n in (times | steady).items())
        for key in ("commands", "bytes_in", "bytes_out", "cpu_us")
    }
    per_job = {key: float(round(value)) for key, value in total.items()}
    return per_job | {"jobs_per_s_of_one_core": round(1e6 / total["cpu_us"])}


async def measure(url: str) -> dict[str, Any]:
    """Return costs by call, sums for jobs of 1 s and 10 s, and the cost of waking doors."""
    meter = Meter(url)
    await _phases(url, meter, 2)  # the server learns the scripts
    calls = await _phases(url, meter, JOBS)
    fan_out = await _fan_out(url, meter)
    await meter.close()
    return {
        "per_call": calls,
        "job_of_1_s": bound(calls, 1.0),
        "job_of_10_s": bound(calls, 10.0),
        "publish_cpu_us_by_doors": fan_out,
    }
