"""Redis reaches its maxmemory under load."""

import httpx

from jobs.settings import JobsSettings
from tests.faults.client import until
from tests.faults.outcome import Outcome
from tests.faults.scenarios.redis.outage import outage
from tests.faults.scenarios.submitter import BODY
from tests.faults.stage import Stage


async def run(stage: Stage, *, full_s: float, lease_s: float) -> Outcome:
    """Submissions get a clear 503, cancelling works, and all goes on once there is room."""
    outcome = Outcome()
    server = stage.redis()
    settings = JobsSettings(redis_url=server.url, lease_s=lease_s)
    redis = stage.connect(server)
    async with outage(stage, settings, outcome) as load:
        http = load.submitter.http
        unwanted = (await http.post("/v1/jobs", json=BODY | {"num_inference_steps": 1000})).json()
        await redis.config_set("maxmemory", "1mb")
        full_at = stage.clock()
        refused = await until("a refusal", lambda: _refusal(http))
        outcome.expect(refused == "store_full", f"the refusal is store_full, not {refused}")
        canceled = await http.post(f"/v1/jobs/{unwanted['id']}/cancel")
        outcome.expect(canceled.status_code == 200, f"cancelling works: {canceled.text}")
        deleted = await http.delete(f"/v1/jobs/{unwanted['id']}")
        outcome.expect(deleted.status_code == 204, f"deleting works: {deleted.text}")
        await load.begins(max(0.0, full_s - (stage.clock() - full_at)))
        await redis.config_set("maxmemory", "0")
        await load.ends(outcome)
    return outcome


async def _refusal(http: httpx.AsyncClient) -> str | None:
    answer = await http.post("/v1/jobs", json=BODY)
    if answer.status_code == 202:
        await http.delete(f"/v1/jobs/{answer.json()['id']}")
        return None
    return str(answer.json().get("code"))
