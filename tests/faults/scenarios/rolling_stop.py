"""Workers are stopped and started one after the other under load, as an upgrade does."""

import asyncio
import random

from jobs.settings import JobsSettings
from tests.faults.outcome import Outcome
from tests.faults.scenarios.audit import audit
from tests.faults.stage import Stage
from tests.processes import PATIENCE_S

DRAIN_S = 5.0


async def run(stage: Stage, *, jobs: int, restarts: int, lease_s: float) -> Outcome:
    """Every job goes on where it was, no step is repeated, a worker is empty within 5 s."""
    outcome, chooser = Outcome(), random.Random(2)
    settings = JobsSettings(redis_url=stage.redis().url, lease_s=lease_s)
    fleet = await stage.fleet(settings, 2, checkpoint_s=60.0)
    client = stage.client(settings)
    names = await client.submit_many(jobs, lambda: chooser.randint(30, 90))
    drains, exits = [], []
    async for restart in client.while_running(jobs, restarts):
        victim = fleet.workers[restart % 2]
        held = len(await client.held_by(victim.name))
        began = stage.clock()
        victim.process.terminate()
        await client.emptied(victim.name)
        drains.append(stage.clock() - began)
        code = await asyncio.to_thread(victim.process.wait, PATIENCE_S)
        exits.append(stage.clock() - began)
        outcome.expect(code == 0, f"{victim.name} ends with 0, not {code}")
        outcome.note("held_max", max(held, outcome.figures.get("held_max", 0)))
        fleet.restart()
        await client.workers(fleet.names)
    records = await audit(client, names, outcome)
    repeated = sum(r.evaluations - r.units for r in records)
    outcome.note("repeated_steps", repeated)
    outcome.note("moved", sum(r.attempts > 1 for r in records))
    outcome.spread("drain_s", drains)
    outcome.spread("exit_s", exits)
    outcome.expect(repeated == 0, f"no step is repeated, not {repeated}")
    outcome.expect(not any(r.deaths for r in records), "no stop counts as a death")
    outcome.expect(max(drains) <= DRAIN_S, f"a worker is empty within {DRAIN_S} s: {drains}")
    return outcome
