"""A door alone: what workers owe, and what is owed to them, goes on without any."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from httpx import AsyncClient
from redis import Redis

from jobs.queue import queue_name
from jobs.settings import JobsSettings
from service.door import Door
from tests.faults.client import until
from tests.jobs.examples import MODEL, claim
from tests.service.doors import open_door, submit


@asynccontextmanager
async def lone_door(settings: JobsSettings) -> AsyncIterator[tuple[Door, AsyncClient]]:
    """Open a door that sweeps often and knows a model."""
    async with open_door(settings, sweep_s=0.05) as (app, http):
        door: Door = app.state.door
        await door.store.announce_model(MODEL)
        yield door, http


def lose_rings(settings: JobsSettings) -> None:
    """Empty the queue, as workers do that are never heard of again."""
    with Redis.from_url(settings.redis_url) as redis:
        redis.delete(queue_name(settings, "toy"))


async def test_a_dead_worker_s_job_goes_back_and_one_ring_waits_for_the_next_worker(
    jobs_settings: JobsSettings,
) -> None:
    short = jobs_settings.model_copy(update={"lease_s": 0.4})
    async with lone_door(short) as (door, http):
        job_id = await submit(http)
        await claim(door.store)
        lose_rings(jobs_settings)

        async def waits() -> bool:
            job = (await http.get(f"/v1/jobs/{job_id}")).json()
            return job["status"] == "queued" and await door.doorbell.waiting("toy") == 1

        await until("the job waits again, with a ring", waits)
        assert (await http.get("/v1/scaling/toy")).json()["backlog_s"] > 0
        await asyncio.sleep(0.5)  # later sweeps ring no second time
        assert await door.doorbell.waiting("toy") == 1


async def test_a_lost_ring_is_replaced_and_a_deadline_passes(jobs_settings: JobsSettings) -> None:
    async with lone_door(jobs_settings) as (door, http):
        waits = await submit(http)
        lose_rings(jobs_settings)

        async def rung() -> bool:
            return await door.doorbell.waiting("toy") == 1

        async def expired() -> bool:
            status: str = (await http.get(f"/v1/jobs/{late}")).json()["status"]
            return status == "expired"

        async def nothing_outstanding() -> bool:
            backlog_s: float = (await http.get("/v1/scaling/toy")).json()["backlog_s"]
            return backlog_s == 0

        await until("the ring is made up for", rung)
        await http.delete(f"/v1/jobs/{waits}")
        late = await submit(http, deadline_s=0.2)
        await until("the deadline", expired)
        await until("no backlog", nothing_outstanding)
