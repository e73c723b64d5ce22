"""The sweep as every worker and door runs it."""

import asyncio
from typing import Any

import pytest

from jobs.cancelling import end
from jobs.queue import Doorbell
from jobs.redis.store import RedisStore
from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from jobs.sweeper import Sweeper
from tests.conftest import Opened
from tests.jobs.examples import claim, submit


@pytest.mark.parametrize("catalogue", ["sound", "broken"])
async def test_a_lone_sweeper_reaps_a_dead_worker_s_job(
    jobs_settings: JobsSettings, redis: Any, prefix: str, opened: Opened[Any], catalogue: str
) -> None:
    if catalogue == "broken":
        redis.hset(f"{prefix}:models", "broken", "{")
    # One sweep a second took every gap for an outage of the store and prolonged such leases.
    settings = jobs_settings.model_copy(update={"lease_s": 0.6})
    store, doorbell = opened(RedisStore(settings)), opened(Doorbell(settings))
    await submit(store, "a")
    await claim(store)
    sweeping = asyncio.create_task(Sweeper(store, doorbell).run(settings.beat_s))
    async with asyncio.timeout(30):
        while (await store.get("a")).status is JobStatus.RUNNING:
            await asyncio.sleep(0.02)
    await end(sweeping)
    assert (await store.get("a")).deaths == 1
