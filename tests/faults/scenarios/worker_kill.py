"""Workers are killed with -9 under load."""

import asyncio
import random
from collections.abc import Sequence

from jobs.schema import JobRecord
from jobs.settings import JobsSettings
from tests.faults.client import Client
from tests.faults.outcome import Outcome
from tests.faults.processes import Worker
from tests.faults.scenarios.audit import audit
from tests.faults.stage import Clock, Stage

LIMIT_S = 10.0
SPARE_DEATHS = 10
SLOTS = 8


async def run(stage: Stage, *, jobs: int, kills: int, lease_s: float) -> Outcome:
    """No job is lost or drawn twice; those of the dead run elsewhere within 10 s."""
    outcome, chooser = Outcome(), random.Random(1)
    # A machine that stands still costs leases, too; "poison" is about jobs that lose too many.
    settings = JobsSettings(
        redis_url=stage.redis().url, lease_s=lease_s, max_deaths=kills + SPARE_DEATHS
    )
    fleet = await stage.fleet(settings, 3, checkpoint_s=0.5)
    client = stage.client(settings)
    names = await client.submit_many(jobs, lambda: chooser.randint(20, 60))
    waits: list[asyncio.Task[list[tuple[float, int]]]] = []
    async for _ in client.while_running(jobs, kills):
        await client.workers(fleet.names)  # there is an elsewhere
        while not (
            orphans := await _kill_one(client, chooser.sample(fleet.workers, len(fleet.workers)))
        ):
            more = await client.submit_many(SLOTS, steps=60, prefix=f"more{len(names)}-")
            names += more  # what there was has ended before a busy machine came to look
        killed_at = stage.clock()
        fleet.restart()
        waits.append(asyncio.create_task(_recoveries(stage.clock, client, orphans, killed_at)))
    await client.all_ended(len(names), 600)
    interrupted = [recovery for wait in waits for recovery in await wait]
    # A job suspected of killing workers waits for one of its own: "poison" is about those.
    recoveries = [s for s, deaths in interrupted if deaths < settings.suspect_deaths]
    await audit(client, names, outcome)
    outcome.note("interrupted", len(interrupted))
    outcome.spread("recovery_s", recoveries)
    late = outcome.figures.get("recovery_s_p99", 0.0)
    outcome.expect(bool(interrupted), "a kill interrupts a job")
    outcome.expect(late <= LIMIT_S, f"recovery p99 {late} s is within the bound")
    return outcome


async def _kill_one(client: Client, workers: Sequence[Worker]) -> list[JobRecord]:
    """Kill the first of these that has jobs; return them, none if nobody has any."""
    for worker in workers:
        worker.freeze()  # so that none of its jobs ends before it does
        if orphans := await client.held_by(worker.name):
            worker.kill()
            return orphans
        worker.thaw()
    return []


async def _recoveries(
    clock: Clock, client: Client, orphans: Sequence[JobRecord], killed_at: float
) -> list[tuple[float, int]]:
    recoveries = (_recovery(clock, client, orphan, killed_at) for orphan in orphans)
    return await asyncio.gather(*recoveries)


async def _recovery(
    clock: Clock, client: Client, orphan: JobRecord, killed_at: float
) -> tuple[float, int]:
    """Return the seconds until the job runs again, and how many deaths it is suspected of."""

    def requeued(record: JobRecord) -> bool:
        return record.deaths > orphan.deaths or again(record)

    def again(record: JobRecord) -> bool:
        return record.attempts > orphan.attempts or record.status.ended

    # Its first new checkpoint makes it innocent: what it is now counts.
    deaths = (await client.seen(f"{orphan.id} requeued", orphan.id, requeued, 120)).deaths
    await client.seen(f"{orphan.id} to run again", orphan.id, again, 120)
    return clock() - killed_at, deaths
