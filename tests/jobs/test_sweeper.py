"""The sweep as every worker and door runs it."""

import asyncio
from typing import Any

from redis import Redis

from jobs.cancelling import end
from jobs.queue import Doorbell
from jobs.redis.store import RedisStore
from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from jobs.sweeper import Sweeper
from tests.conftest import Opened
from tests.jobs.examples import spec, work


async def reaps(settings: JobsSettings, opened: Opened[Any]) -> None:
    """Check that a lone sweeper takes a dead worker's job away."""
    store, doorbell = opened(RedisStore(settings)), opened(Doorbell(settings))
    await store.create("a", spec(), work(spec()))
    assert await store.claim("toy", "dies", idle=True) is not None
    sweeping = asyncio.create_task(Sweeper(store, doorbell).run(settings.beat_s))
    async with asyncio.timeout(30):
        while (await store.get("a")).status is JobStatus.RUNNING:
            await asyncio.sleep(0.02)
    await end(sweeping)
    assert (await store.get("a")).deaths == 1


async def test_a_lone_sweeper_reaps_the_shortest_lease(
    jobs_settings: JobsSettings, opened: Opened[Any]
) -> None:
    # One sweep a second took every gap for an outage of the store and prolonged such leases.
    await reaps(jobs_settings.model_copy(update={"lease_s": 0.6}), opened)


async def test_what_nobody_can_read_ends_no_sweeper(
    jobs_settings: JobsSettings, opened: Opened[Any]
) -> None:
    with Redis.from_url(jobs_settings.redis_url) as redis:
        redis.hset(f"{{{jobs_settings.key_prefix}}}:models", "broken", "{")
    await reaps(jobs_settings.model_copy(update={"lease_s": 0.6}), opened)
