"""Thousands of jobs with large previews come, end and run out."""

import asyncio

from redis.asyncio import Redis

from jobs.redis.store import RedisStore
from jobs.schema import JobError
from jobs.settings import JobsSettings
from jobs.store import Claim, Preview
from tests.faults.client import until
from tests.faults.outcome import Outcome
from tests.faults.stage import Stage
from tests.jobs.examples import checkpoint, claim, picture, submit

MIB = 1024 * 1024
PREVIEW = bytes(120_000)  # as large as one of SDXL
PREVIEWS = 3  # of a job
AT_ONCE = 20  # jobs
RESULTS, RECORDS = 8 * MIB, MIB


async def run(stage: Stage, *, jobs: int, ttl_s: float) -> Outcome:
    """Memory stays within its bounds, and is back where it was once results have run out."""
    outcome = Outcome()
    server = stage.redis("--appendonly", "no")
    settings = JobsSettings(
        redis_url=server.url, result_ttl_s=ttl_s, record_ttl_s=ttl_s,
        max_results_bytes=RESULTS, max_records_bytes=RECORDS,
    )  # fmt: skip
    redis, store = stage.connect(server), stage.client(settings).store
    await _round(store, "warm")
    await _run_out(store)
    before, peak = await _used(redis), 0
    for number in range(jobs // AT_ONCE):
        await _round(store, f"job{number}-")
        await store.sweep()
        peak = max(peak, await _used(redis))
    await _run_out(store)

    async def back() -> bool:
        return await _used(redis) <= 1.05 * before

    try:
        await until("memory to come back", back)  # tables shrink a little later
    except AssertionError as error:
        outcome.broken.append(str(error))
    after = await _used(redis)
    for name, value in (("before", before), ("peak", peak), ("after", after)):
        outcome.note(f"{name}_mib", value / MIB)
    outcome.expect(peak < before + 1.5 * (RESULTS + RECORDS), f"memory is bounded, not {peak}")
    return outcome


async def _round(store: RedisStore, name: str) -> None:
    """Play a worker of jobs that end in every way."""
    for number in range(AT_ONCE):
        await submit(store, f"{name}{number}", tenant=f"tenant{number % 3}")
    held = [await claim(store) for _ in range(AT_ONCE)]
    await asyncio.gather(*(_draw(store, each, number) for number, each in enumerate(held)))


async def _draw(store: RedisStore, held: Claim, number: int) -> None:
    for step in range(PREVIEWS):
        await store.preview([Preview(held.lease, 0, step, "image/webp", PREVIEW)])
    await store.checkpoint(held.lease, [checkpoint(5)])
    match number % 4:
        case 0:
            await store.cancel(held.record.id)
        case 1:
            await store.fail(held.lease, JobError(code="internal", detail="a fault"))
        case _:
            await store.add_image(held.lease, picture())
            await store.finish(held.lease, 10)


async def _run_out(store: RedisStore) -> None:
    async def empty() -> bool:
        await store.sweep()
        totals = await store.totals()
        return not (totals.results_bytes or totals.previews_bytes or totals.records_bytes)

    await until("results and records to run out", empty)


async def _used(redis: "Redis") -> int:
    memory = await redis.info("memory")
    return int(memory["used_memory"])
