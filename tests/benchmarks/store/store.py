"""What a store call costs with few and with many jobs in the queue, of few and of many tenants."""

import asyncio
from collections.abc import Awaitable
from statistics import median
from time import perf_counter
from typing import Any

from jobs.redis.store import RedisStore
from jobs.schema import JobSpec
from jobs.settings import JobsSettings
from tests.jobs.examples import spec

SIZES = (10, 10_000)
TENANTS = (1, 10, 1000)  # that share the longer queue
CALLS = 200


async def _fill(
    store: RedisStore, upto: int, have: int, example: JobSpec, tenants: int = 1
) -> None:
    def of(i: int) -> JobSpec:
        return example.model_copy(update={"tenant": f"tenant{i % tenants}"})

    for first in range(have, upto, 50):
        await asyncio.gather(
            *(store.create(f"fill{i}", of(i), 30.0) for i in range(first, min(upto, first + 50)))
        )


async def _timed(taken: list[float], call: Awaitable[object]) -> None:
    started = perf_counter()
    await call
    taken.append(1000 * (perf_counter() - started))


Taken = dict[str, list[float]]


async def _once(store: RedisStore, taken: Taken, job_id: str, example: JobSpec) -> None:
    """Submit a job, look at it, and claim the next one."""
    await _timed(taken["submit"], store.create(job_id, example, 30.0))
    last = await store.get(job_id)
    await _timed(taken["status"], store.get(last.id))
    await _timed(taken["position"], store.queue_position(last))
    await _timed(taken["claim"], store.claim(example.model, "w", idle=False))


def _medians(taken: Taken) -> dict[str, float]:
    return {f"{name}_ms": median(values) for name, values in taken.items()}


async def _at_size(store: RedisStore, size: int, example: JobSpec) -> dict[str, float]:
    """Time each call while ``size`` jobs wait; every submission is followed by a claim."""
    taken = Taken(submit=[], status=[], position=[], claim=[])
    for i in range(CALLS):
        await _once(store, taken, f"new{size}-{i}", example)
    return _medians(taken)


async def _by_tenants(url: str, example: JobSpec) -> dict[str, Any]:
    """Time the calls beside long queues of so many tenants, in turns, as ratios to one tenant."""
    stores = {
        count: RedisStore(JobsSettings(redis_url=url, lease_s=600, key_prefix=f"tenants-{count}"))
        for count in TENANTS
    }
    taken = {count: Taken(submit=[], status=[], position=[], claim=[]) for count in TENANTS}
    for count, store in stores.items():
        await _fill(store, SIZES[-1], 0, example, count)
    for i in range(CALLS):
        for count, store in stores.items():
            await _once(store, taken[count], f"new{i}", example)
    for store in stores.values():
        await store.close()
    one, *others = (_medians(taken[count]) for count in TENANTS)
    return {
        f"{count}_over_{TENANTS[0]}": {key: round(found[key] / one[key], 2) for key in one}
        for count, found in zip(TENANTS[1:], others, strict=True)
    }


async def measure(url: str) -> dict[str, Any]:
    """Return milliseconds by queue length, and their ratios."""
    store = RedisStore(JobsSettings(redis_url=url, lease_s=600))
    example = spec()
    results = {}
    for size, have in zip(SIZES, (0, SIZES[0]), strict=True):
        await _fill(store, size, have, example)
        results[size] = await _at_size(store, size, example)
    await store.close()
    tenants = await _by_tenants(url, example)
    few, many = (results[size] for size in SIZES)
    return {
        str(SIZES[0]): {key: round(value, 3) for key, value in few.items()},
        str(SIZES[1]): {key: round(value, 3) for key, value in many.items()},
        "ratio": {key: round(many[key] / few[key], 2) for key in few},
        "tenants": tenants,
    }
