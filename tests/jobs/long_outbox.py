"""Many deliveries of one tenant, written faster than thousands of jobs would end."""

from dataclasses import replace
from typing import Any

from jobs.memory_store import MemoryStore
from jobs.redis_store import RedisStore
from jobs.store import JobStore

AT_ONCE = 1000


async def multiply(store: JobStore, job_id: str, count: int) -> None:
    """Put so many copies of an ended job into the outbox, due when it is."""
    names = [f"{job_id}-{number}" for number in range(count)]
    if isinstance(store, MemoryStore):
        jobs = vars(store)["_life"].jobs
        jobs |= {name: replace(jobs[job_id], id=name) for name in names}
        return
    assert isinstance(store, RedisStore)
    redis, prefix = vars(store)["_redis"], vars(store)["_prefix"]
    job = await redis.hgetall(f"{prefix}:job:{job_id}")
    due = await redis.zscore(f"{prefix}:outbox", job_id)
    lines = f"{prefix}:outbox", f"{prefix}:tenant:{job[b'tenant'].decode()}:outbox"
    for start in range(0, count, AT_ONCE):
        some = names[start : start + AT_ONCE]
        pipe: Any = redis.pipeline(transaction=False)
        for name in some:
            pipe.hset(f"{prefix}:job:{name}", mapping=job | {b"id": name})
        for line in lines:
            pipe.zadd(line, dict.fromkeys(some, due))
        await pipe.execute()
