"""A worker killed with -9: its jobs go on elsewhere and end in the same pictures."""

import json
from functools import partial
from itertools import pairwise
from pathlib import Path
from time import monotonic

import pytest
from redis.asyncio import Redis

from jobs.schema import JobRecord
from jobs.settings import JobsSettings
from tests.faults.children import slow_while
from tests.faults.client import Client, until
from tests.faults.conftest import Start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
CHECKPOINT_S = 0.3
LEASE_S = 5.0
RECOVERY_S = 30.0  # on a machine that does much else
DELAY_S = 3.0  # a checkpoint's own, on a machine that does much else
STALL_S = 0.5
"""A longer silence between two reports is the machine's, and counts as this."""


async def test_kill_at_any_step_ends_in_the_same_picture(
    start: Start, client: Client, jobs_settings: JobsSettings, tmp_path: Path
) -> None:
    switch = tmp_path / "slow"
    options = {"num_inference_steps": 500, "sampler": "dpmpp_2m_sde"}
    settings = jobs_settings.model_copy(update={"lease_s": LEASE_S})
    start = partial(start, settings=settings, checkpoint_s=CHECKPOINT_S, **slow_while(switch))
    workers = {"first": start("first")}
    await client.workers(workers)
    await client.submit("undisturbed", **options)
    expected = await client.picture("undisturbed")
    calm = await client.store.get("undisturbed")
    workers["second"] = start("second")
    await client.workers(workers)
    for kill, step in enumerate((5, 20, 40)):
        job = f"job{kill}"
        switch.touch()
        await client.submit(job, **options)
        await client.at_step(job, step)
        if step > 5:
            await until(f"a checkpoint of {job}", partial(saved_row, settings, job))
        for worker in workers.values():
            worker.freeze()  # nobody goes on with the job before it has been looked at
        left, row = await client.store.get(job), await saved_row(settings, job)
        workers.pop(str(left.worker)).kill()
        killed_at = monotonic()
        switch.unlink()
        for worker in workers.values():
            worker.thaw()
        await client.seen("another claim", job, partial(claimed_after, left.attempts))
        assert monotonic() - killed_at < RECOVERY_S, "a lease and a sweep"
        assert await client.picture(job) == expected
        record = await client.store.get(job)
        again = record.evaluations - calm.evaluations
        assert again == left.evaluations - 2 * row, f"{left}, saved at {row}: {record}"
        assert await reported_for_s(client, job, row) <= CHECKPOINT_S + DELAY_S
        workers[f"next{kill}"] = start(f"next{kill}")
        await client.workers(workers)


def claimed_after(attempts: int, record: JobRecord) -> bool:
    return record.attempts > attempts


async def saved_row(settings: JobsSettings, job: str) -> int:
    """Return the row of the newest checkpoint that the store has."""
    async with Redis.from_url(settings.redis_url) as redis:
        head = await redis.hget(f"{{{settings.key_prefix}}}:job:{job}", "checkpoint:0")
    return 0 if head is None else int(json.loads(head)["row"])


async def reported_for_s(client: Client, job: str, row: int) -> float:
    """Return how long the first attempt reported steps past the row, stalls left out."""
    progress = [event async for event in client.store.events(job) if event.kind == "progress"]
    times_ms = [
        int(event.id.partition("-")[0])
        for event in progress
        if event.attempt == 1 and event.data["step"] > row
    ]
    return sum(min(after - before, STALL_S * 1000) for before, after in pairwise(times_ms)) / 1000
