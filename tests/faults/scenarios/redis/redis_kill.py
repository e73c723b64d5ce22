"""Redis is killed with -9 and started again under load."""

import asyncio

from jobs.settings import JobsSettings
from tests.faults.outcome import Outcome
from tests.faults.processes import ON_DISK
from tests.faults.scenarios.audit import audit
from tests.faults.stage import Stage


async def run(stage: Stage, *, jobs: int, kills: int, lease_s: float) -> Outcome:
    """What Redis acknowledged is on disk: nothing is lost, and no worker is restarted."""
    outcome = Outcome()
    redis = stage.redis(*ON_DISK)
    settings = JobsSettings(redis_url=redis.url, lease_s=lease_s)
    fleet = await stage.fleet(settings, 2)
    client = stage.client(settings)
    names = await client.submit_many(jobs, steps=40)
    async for _ in client.while_running(jobs, kills):
        redis.kill()
        await asyncio.sleep(1.0)
        redis.start()
    records = await audit(client, names, outcome)
    deaths = sum(record.deaths for record in records)
    outcome.note("attempts_max", max(record.attempts for record in records))
    outcome.expect(not deaths, f"no worker is counted as dead, {deaths} were")
    outcome.expect(len(fleet.ever) == 2 and all(w.alive for w in fleet), "every worker lives on")
    return outcome
