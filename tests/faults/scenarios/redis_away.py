"""Redis is away for a while, and clients go on submitting."""

import asyncio
from time import monotonic

import httpx

from jobs.settings import JobsSettings
from tests.faults.outcome import Outcome
from tests.faults.scenarios.audit import audit
from tests.faults.scenarios.submitter import Submitter, door_ready
from tests.faults.stage import Stage


async def run(stage: Stage, *, away_s: float) -> Outcome:
    """A submission is accepted and kept, or refused with 503 and a time to come back."""
    outcome = Outcome()
    redis = stage.redis()
    settings = JobsSettings(redis_url=redis.url)
    fleet = await stage.fleet(settings, 2)
    door = stage.door(settings)
    client = stage.client(settings)
    async with httpx.AsyncClient(base_url=door.url, timeout=60) as http:
        await door_ready(http)
        submitter = Submitter(http, pause_s=0.1)
        submitting = asyncio.create_task(submitter.run(4))
        await asyncio.sleep(1.5)
        redis.kill()
        await asyncio.sleep(away_s)
        redis.start()
        back_at = monotonic()
        answered = submitter.accepted_count
        while submitter.accepted_count == answered:
            await asyncio.sleep(0.02)
        outcome.note("accepting_again_s", monotonic() - back_at)
        await asyncio.sleep(1.0)
        submitter.stop()
        await submitting
        wrong = {k: v for k, v in submitter.answers.items() if k not in (202, 503)}
        outcome.expect(not wrong, f"an answer is 202 or 503, not {wrong}")
        outcome.expect(submitter.answers[503] > 0, "a submission meets the outage")
        outcome.expect(not submitter.untimed, "every 503 says when to come back")
    stored = (await client.store.totals()).created
    await client.all_ended(stored, 300)
    records = await audit(client, submitter.accepted, Outcome())
    outcome.note("accepted", len(submitter.accepted))
    outcome.note("refused", submitter.answers[503])
    outcome.note("lost", sum(not record.status.ended for record in records))
    outcome.note("kept_though_refused", stored - len(submitter.accepted))
    outcome.expect({str(r.status) for r in records} == {"succeeded"}, "every accepted job ends")
    outcome.expect(not any(r.deaths for r in records), "the outage is nobody's death")
    outcome.expect(all(worker.alive for worker in fleet), "every worker lives on")
    return outcome
