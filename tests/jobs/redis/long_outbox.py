"""Many deliveries of one tenant, written faster than thousands of jobs would end."""

from typing import Any

from jobs.redis.store import RedisStore

AT_ONCE = 1000


async def multiply(store: RedisStore, job_id: str, count: int) -> None:
    """Put so many copies of an ended job into the outbox, due when it is."""
    redis, prefix = vars(store)["_redis"], vars(store)["_prefix"]
    job = await redis.hgetall(f"{prefix}:job:{job_id}")
    due = await redis.zscore(f"{prefix}:outbox", job_id)
    for start in range(0, count, AT_ONCE):
        names = [f"{job_id}-{number}" for number in range(start, min(start + AT_ONCE, count))]
        pipe: Any = redis.pipeline(transaction=False)
        for name in names:
            pipe.hset(f"{prefix}:job:{name}", mapping=job | {b"id": name})
        for line in ("outbox", f"tenant:{job[b'tenant'].decode()}:outbox"):
            pipe.zadd(f"{prefix}:{line}", dict.fromkeys(names, due))
        await pipe.execute()
