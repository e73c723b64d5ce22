"""Redis is killed with -9 and started again under load."""

import asyncio

from jobs.settings import JobsSettings
from tests.faults.outcome import Outcome
from tests.faults.scenarios.audit import audit
from tests.faults.stage import Stage


async def run(stage: Stage, *, jobs: int, kills: int) -> Outcome:
    """What Redis acknowledged is in its AOF: nothing is lost, nobody has to be restarted."""
    outcome = Outcome()
    redis = stage.redis()
    settings = JobsSettings(redis_url=redis.url)
    fleet = await stage.fleet(settings, 2)
    client = stage.client(settings)
    names = [f"job{i}" for i in range(jobs)]
    for name in names:
        await client.submit(name, num_inference_steps=40)
    for kill in range(kills):
        await client.all_ended(jobs * (2 * kill + 1) // (2 * kills + 1), 600)
        redis.kill()
        await asyncio.sleep(1.0)
        redis.start()
    await client.all_ended(jobs, 600)
    records = await audit(client, names, outcome)
    deaths = sum(record.deaths for record in records)
    outcome.note("attempts_max", max(record.attempts for record in records))
    outcome.expect(not deaths, f"Redis' death is no worker's, but {deaths} were counted")
    outcome.expect(len(fleet.ever) == 2 and all(w.alive for w in fleet), "every worker lives on")
    return outcome
