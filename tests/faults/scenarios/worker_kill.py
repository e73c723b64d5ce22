"""Workers are killed with -9 under load."""

import asyncio
import random
from collections.abc import Sequence
from time import monotonic

from jobs.schema import JobRecord
from jobs.settings import JobsSettings
from tests.faults.client import Client, until
from tests.faults.outcome import Outcome
from tests.faults.scenarios.audit import audit
from tests.faults.stage import Stage

LIMIT_S = 10.0


async def run(stage: Stage, *, jobs: int, kills: int, lease_s: float, slots: int) -> Outcome:
    """No job is lost or drawn twice; those of the dead run elsewhere within 10 s."""
    outcome, chooser = Outcome(), random.Random(1)
    settings = JobsSettings(redis_url=stage.redis().url, lease_s=lease_s)
    fleet = await stage.fleet(settings, 3, checkpoint_s=0.5, slots=slots)
    client = stage.client(settings)
    names = [f"job{i}" for i in range(jobs)]
    for name in names:
        await client.submit(name, num_inference_steps=chooser.randint(20, 60))
    waits: list[asyncio.Task[list[float]]] = []
    for kill in range(kills):
        await client.all_ended(jobs * (2 * kill + 1) // (2 * kills + 1), 600)
        busy = [w for w in fleet if w.alive and await client.held_by(w.name)]
        victim = chooser.choice(busy or list(fleet))
        victim.kill()
        killed_at = monotonic()
        orphans = await client.held_by(victim.name)
        fleet.restart()
        waits.append(asyncio.create_task(_recoveries(client, orphans, killed_at)))
    await client.all_ended(jobs, 600)
    recoveries = [seconds for wait in waits for seconds in await wait]
    await audit(client, names, outcome)
    outcome.note("interrupted", len(recoveries))
    outcome.spread("recovery_s", recoveries)
    late = outcome.figures.get("recovery_s_p99", 0.0)
    outcome.expect(bool(recoveries), "a kill interrupts a job")
    outcome.expect(late <= LIMIT_S, f"recovery p99 {late} s is within the bound")
    return outcome


async def _recoveries(
    client: Client, orphans: Sequence[JobRecord], killed_at: float
) -> list[float]:
    return await asyncio.gather(*(_recovery(client, orphan, killed_at) for orphan in orphans))


async def _recovery(client: Client, orphan: JobRecord, killed_at: float) -> float:
    async def again() -> bool:
        await asyncio.sleep(0.03)
        record = await client.store.get(orphan.id)
        return record.attempts > orphan.attempts or record.status.ended

    await until(f"{orphan.id} to run again", again, 120)
    return monotonic() - killed_at
