"""Redis is away for a while, and clients go on submitting."""

from jobs.settings import JobsSettings
from tests.faults.outcome import Outcome
from tests.faults.processes import ON_DISK
from tests.faults.scenarios.redis.outage import outage
from tests.faults.stage import Stage


async def run(stage: Stage, *, away_s: float, lease_s: float) -> Outcome:
    """A submission is accepted and kept, or refused with 503 and a time to come back."""
    outcome = Outcome()
    redis = stage.redis(*ON_DISK)
    settings = JobsSettings(redis_url=redis.url, lease_s=lease_s)
    async with outage(stage, settings, outcome) as load:
        redis.kill()
        await load.begins(away_s)
        redis.start()
        await load.ends(outcome)
    return outcome
