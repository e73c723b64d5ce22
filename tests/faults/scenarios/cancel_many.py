"""Many queued and running jobs are cancelled at once."""

import asyncio
from collections.abc import Sequence

from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from tests.faults.children import slow
from tests.faults.client import Client, until
from tests.faults.outcome import Outcome
from tests.faults.stage import Stage

LIMIT_S = 2.0
CLIENTS = 8


async def run(stage: Stage, *, jobs: int) -> Outcome:
    """All have ended within 2 s, the workers are empty, and nothing of them appears later."""
    outcome = Outcome()
    server = stage.redis()
    settings = JobsSettings(redis_url=server.url)
    await stage.fleet(settings, 2, **slow(pass_s=0.05))  # no job ends before it is canceled
    client = stage.client(settings)
    names = await client.submit_many(jobs, steps=1000)
    await client.at_step(names[0], 5)
    running = len((await client.store.list(status=JobStatus.RUNNING, limit=100)).records)
    began = stage.clock()
    await asyncio.gather(*(_cancel(client, names[place::CLIENTS]) for place in range(CLIENTS)))
    outcome.note("canceled_s", stage.clock() - began)
    ends = [[e.id async for e in client.store.events(name)][-1] for name in names]

    async def empty() -> bool:
        return not any(worker.jobs for worker in await client.store.workers())

    await until("empty workers", empty)
    outcome.note("workers_empty_s", stage.clock() - began)  # workers report once a second
    await asyncio.sleep(1.0)
    records = [await client.store.get(name) for name in names]
    redis = stage.connect(server)
    left = [key async for key in redis.scan_iter("*:image:*")]
    left += [key async for key in redis.scan_iter("*:checkpoint:*")]
    later = [[e.id async for e in client.store.events(name)][-1] for name in names]
    outcome.note("jobs", jobs)
    outcome.note("running", running)
    outcome.note("results_after", len(left))
    statuses = {str(record.status) for record in records}
    outcome.expect(statuses == {"canceled"}, f"every job is canceled, not {statuses}")
    outcome.expect(outcome.figures["canceled_s"] <= LIMIT_S, f"all end within {LIMIT_S} s")
    outcome.expect(not left, f"nothing is left: {left[:3]}")
    outcome.expect(later == ends, "no event follows a job's end")
    outcome.expect((await client.store.backlog("tiny")).units == 0, "no work is left")
    return outcome


async def _cancel(client: Client, names: Sequence[str]) -> None:
    for name in names:
        await client.store.cancel(name)
