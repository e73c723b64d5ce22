"""Every idempotency key is sent twice at once."""

import asyncio
from time import monotonic

import httpx

from jobs.settings import JobsSettings
from tests.faults.outcome import Outcome
from tests.faults.scenarios.submitter import BODY, door_ready
from tests.faults.stage import Stage
from tests.jobs.examples import MODEL
from tests.processes import PATIENCE_S


async def run(stage: Stage, *, keys: int) -> Outcome:
    """There are as many jobs as keys, and both answers name the same one."""
    outcome = Outcome()
    settings = JobsSettings(redis_url=stage.redis().url)
    client = stage.client(settings)
    await client.store.announce_model(MODEL)
    door = stage.door(settings)
    limits = httpx.Limits(max_connections=32)
    async with httpx.AsyncClient(base_url=door.url, timeout=PATIENCE_S, limits=limits) as http:
        await door_ready(http)

        async def send(key: str) -> str:
            answer = await http.post("/v1/jobs", json=BODY, headers={"idempotency-key": key})
            return str(answer.json().get("id")) if answer.status_code == 202 else answer.text

        began = monotonic()
        pairs = await asyncio.gather(
            *(asyncio.gather(send(f"key-{n}"), send(f"key-{n}")) for n in range(keys))
        )
    outcome.note("sent_per_s", 2 * keys / (monotonic() - began))
    created = (await client.store.totals()).created
    outcome.note("keys", keys)
    outcome.note("jobs", created)
    unequal = [pair for pair in pairs if pair[0] != pair[1]]
    outcome.expect(not unequal, f"both answers name one job, not {unequal[:2]}")
    outcome.expect(len({pair[0] for pair in pairs}) == keys, "every key has a job of its own")
    outcome.expect(created == keys, f"there are {keys} jobs, not {created}")
    return outcome
