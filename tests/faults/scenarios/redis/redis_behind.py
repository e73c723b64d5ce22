"""Redis is killed with -9 while its disk is busy: it forgets its last writes."""

import asyncio
import os

from jobs.settings import JobsSettings
from tests.faults.client import until
from tests.faults.outcome import Outcome
from tests.faults.processes import ON_DISK
from tests.faults.scenarios.lost import count_lost
from tests.faults.scenarios.submitter import Submitter, submitting
from tests.faults.stage import Stage

CLIENTS = 4


async def run(stage: Stage, *, calm_s: float, behind_s: float) -> Outcome:
    """What was on disk goes on, also what has ended since; the rest is unknown to everybody."""
    outcome = Outcome()
    redis = stage.redis(*ON_DISK)
    settings = JobsSettings(redis_url=redis.url)
    fleet = await stage.fleet(settings, 2)
    client = stage.client(settings)
    async with submitting(stage.door(settings), CLIENTS, pause_s=0.1) as submitter:
        await _more(submitter, 0, calm_s)
        safe = list(submitter.accepted)
        # As many as there are clients may be on disk and not acknowledged yet.
        aof = next((redis.folder / "appendonlydir").glob("*.incr.aof"))
        written = aof.stat().st_size
        await _more(submitter, len(safe) + CLIENTS, behind_s)
        redis.kill()
        os.truncate(aof, written)
        acknowledged = len(submitter.accepted)
        redis.start()
        await _more(submitter, acknowledged, 1.0)
    outcome.note("acknowledged", acknowledged)
    lost = await count_lost(client, submitter.accepted, outcome)
    outcome.note("forgotten", lost)
    outcome.expect(lost > 0, "the last are forgotten")
    outcome.expect(not await count_lost(client, safe, outcome), "what was on disk is there")
    deaths = max([(await client.store.get(name)).deaths for name in safe])
    outcome.expect(deaths <= 1, f"an end that was forgotten counts as one death, not {deaths}")
    wrong = {k: v for k, v in submitter.answers.items() if k not in (202, 503)}
    outcome.expect(not wrong, f"an answer is 202 or 503, not {wrong}")
    outcome.expect(all(worker.alive for worker in fleet), "every worker lives on")
    return outcome


async def _more(submitter: Submitter, than: int, for_s: float) -> None:
    """Wait so many seconds, and until more jobs than these have been accepted."""
    await asyncio.sleep(for_s)

    async def accepted() -> bool:
        return len(submitter.accepted) > than

    await until("a job to be taken on", accepted)
