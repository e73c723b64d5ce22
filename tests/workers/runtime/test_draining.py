"""A worker that has begun to drain, without Celery around it."""

import asyncio

from redis import Redis

from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from tests.faults.client import until
from tests.workers.inside import Inside


async def test_a_job_claimed_while_the_worker_begins_to_drain_is_given_back_whole(
    inside: Inside, jobs_settings: JobsSettings
) -> None:
    await inside.create("job", num_images=5, num_inference_steps=200)
    with Redis.from_url(jobs_settings.redis_url) as redis:
        redis.client_pause(500)  # the claim's answer comes after the drain has begun
    answered = inside.threads.submit(inside.host.answer, "job")

    async def claiming() -> bool:
        return inside.host._runtime._claiming.locked()

    await until("the claim to be under way", claiming)
    drained = inside.host._call(inside.host._runtime.drain())
    await asyncio.wait_for(asyncio.wrap_future(drained), 30)
    assert not inside.host._runtime._claiming.locked(), "drained with a claim under way"
    await asyncio.wait_for(asyncio.wrap_future(answered), 30)
    record = await inside.store.get("job")
    assert (record.status, record.attempts) == (JobStatus.QUEUED, 1)
