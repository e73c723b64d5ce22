"""Many deliveries of one tenant, written faster than thousands of jobs would end."""

from dataclasses import replace
from typing import Any

from jobs.memory_store import MemoryStore
from jobs.redis_store import RedisStore
from jobs.store import JobStore

ADOPTED_A_SWEEP = 1000


async def multiply(store: JobStore, job_id: str, count: int) -> None:
    """Put so many copies of an ended job into the outbox, due when it is.

    In Redis they are as a former version would leave them: see :func:`take_over`.
    """
    names = [f"{job_id}-{number}" for number in range(count)]
    if isinstance(store, MemoryStore):
        jobs = vars(store)["_life"].jobs
        jobs |= {name: replace(jobs[job_id], id=name) for name in names}
        return
    assert isinstance(store, RedisStore)
    redis, prefix = vars(store)["_redis"], vars(store)["_prefix"]
    job = await redis.hgetall(f"{prefix}:job:{job_id}")
    due = await redis.zscore(f"{prefix}:outbox", job_id)
    for start in range(0, count, ADOPTED_A_SWEEP):
        pipe: Any = redis.pipeline(transaction=False)
        for name in names[start : start + ADOPTED_A_SWEEP]:
            pipe.hset(f"{prefix}:job:{name}", mapping=job | {b"id": name})
        pipe.zadd(f"{prefix}:outbox", dict.fromkeys(names[start : start + ADOPTED_A_SWEEP], due))
        await pipe.execute()


async def take_over(store: JobStore) -> None:
    """Sweep until every entry stands in its tenant's line."""
    if isinstance(store, RedisStore):
        redis, prefix = vars(store)["_redis"], vars(store)["_prefix"]
        while await redis.zcard(f"{prefix}:outbox") > int(
            await redis.get(f"{prefix}:outbox_lined_up")
        ):
            await store.sweep()
