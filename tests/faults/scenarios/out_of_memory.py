"""Redis reaches its maxmemory under load."""

import asyncio
from time import monotonic

import httpx
from redis.asyncio import Redis

from jobs.settings import JobsSettings
from tests.faults.client import until
from tests.faults.outcome import Outcome
from tests.faults.scenarios.audit import audit
from tests.faults.scenarios.submitter import BODY, Submitter, door_ready
from tests.faults.stage import Stage


async def run(stage: Stage, *, full_s: float) -> Outcome:
    """Submissions get a clear 503, cancelling works, and all goes on once there is room."""
    outcome = Outcome()
    settings = JobsSettings(redis_url=stage.redis().url)
    fleet = await stage.fleet(settings, 2)
    client = stage.client(settings)
    door = stage.door(settings)
    redis: Redis = Redis.from_url(settings.redis_url)
    async with httpx.AsyncClient(base_url=door.url, timeout=60) as http:
        await door_ready(http)
        submitter = Submitter(http, pause_s=0.1)
        submitting = asyncio.create_task(submitter.run(4))
        await asyncio.sleep(1.5)
        unwanted = (await http.post("/v1/jobs", json=BODY | {"num_inference_steps": 1000})).json()
        await redis.config_set("maxmemory", "1mb")
        full_at = monotonic()
        refused = await until("a refusal", lambda: _refusal(http))
        outcome.expect(refused == "store_full", f"the refusal is store_full, not {refused}")
        canceled = await http.post(f"/v1/jobs/{unwanted['id']}/cancel")
        outcome.expect(canceled.status_code == 200, f"cancelling works: {canceled.text}")
        deleted = await http.delete(f"/v1/jobs/{unwanted['id']}")
        outcome.expect(deleted.status_code == 204, f"deleting works: {deleted.text}")
        await asyncio.sleep(max(0.0, full_s - (monotonic() - full_at)))
        await redis.config_set("maxmemory", "0")
        room_at, before = monotonic(), submitter.accepted_count
        while submitter.accepted_count == before:
            await asyncio.sleep(0.02)
        outcome.note("accepting_again_s", monotonic() - room_at)
        await asyncio.sleep(1.0)
        submitter.stop()
        await submitting
    await redis.aclose()
    wrong = {k: v for k, v in submitter.answers.items() if k not in (202, 503)}
    outcome.expect(not wrong, f"an answer is 202 or 503, not {wrong}")
    await client.all_ended((await client.store.totals()).created, 300)
    checked = Outcome()
    records = await audit(client, submitter.accepted, checked)
    outcome.note("accepted", len(submitter.accepted))
    outcome.note("refused", submitter.answers[503])
    outcome.note("lost", checked.figures["lost"])
    outcome.expect(checked.figures["lost"] == 0, f"every accepted job completes: {checked.broken}")
    outcome.expect(not any(r.deaths for r in records), "it is nobody's death")
    outcome.expect(all(worker.alive for worker in fleet), "every worker lives on")
    return outcome


async def _refusal(http: httpx.AsyncClient) -> str | None:
    answer = await http.post("/v1/jobs", json=BODY)
    if answer.status_code == 202:
        await http.delete(f"/v1/jobs/{answer.json()['id']}")
        return None
    return str(answer.json().get("code"))
