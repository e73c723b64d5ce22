"""Workers are stopped and started one after the other under load, as an upgrade does."""

import asyncio
import random
from time import monotonic

from jobs.settings import JobsSettings
from tests.faults.client import Client, until
from tests.faults.outcome import Outcome
from tests.faults.scenarios.audit import audit
from tests.faults.stage import Stage

DRAIN_S = 5.0


async def run(stage: Stage, *, jobs: int, restarts: int) -> Outcome:
    """Every job goes on where it was, no step is repeated, a worker is empty within 5 s."""
    outcome, chooser = Outcome(), random.Random(2)
    settings = JobsSettings(redis_url=stage.redis().url)
    fleet = await stage.fleet(settings, 2, checkpoint_s=60.0)
    client = stage.client(settings)
    names = [f"job{i}" for i in range(jobs)]
    for name in names:
        await client.submit(name, num_inference_steps=chooser.randint(30, 90))
    drains, exits = [], []
    for restart in range(restarts):
        await client.all_ended(jobs * (2 * restart + 1) // (2 * restarts + 1), 600)
        victim = fleet.workers[restart % 2]
        held = len(await client.held_by(victim.name))
        began = monotonic()
        victim.process.terminate()
        await _empty(client, victim.name)
        drains.append(monotonic() - began)
        code = await asyncio.to_thread(victim.process.wait, 30)
        exits.append(monotonic() - began)
        outcome.expect(code == 0, f"{victim.name} ends with 0, not {code}")
        outcome.note("held_max", max(held, outcome.figures.get("held_max", 0)))
        fleet.restart()
        await client.workers(fleet.names)
    await client.all_ended(jobs, 600)
    records = await audit(client, names, outcome)
    expected = {r.id: r.units for r in records}
    repeated = sum(r.evaluations - expected[r.id] for r in records)
    outcome.note("repeated_steps", repeated)
    outcome.note("moved", sum(r.attempts > 1 for r in records))
    outcome.spread("drain_s", drains)
    outcome.spread("exit_s", exits)
    outcome.expect(repeated == 0, f"no step is repeated, not {repeated}")
    outcome.expect(not any(r.deaths for r in records), "a stop is nobody's death")
    outcome.expect(max(drains) <= DRAIN_S, f"a worker is empty within {DRAIN_S} s: {drains}")
    return outcome


async def _empty(client: Client, worker: str) -> None:
    async def empty() -> bool:
        return not await client.held_by(worker)

    await until(f"{worker} to be empty", empty, 30)
