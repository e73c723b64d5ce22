"""The disk that Redis' AOF lies on is full."""

import asyncio
import resource
import signal
from time import monotonic

import httpx

from jobs.settings import JobsSettings
from tests.faults.outcome import Outcome
from tests.faults.scenarios.audit import audit
from tests.faults.scenarios.submitter import Submitter, door_ready
from tests.faults.stage import Stage


def _endure() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # a write past the limit fails, as on a full disk


async def run(stage: Stage, *, full_s: float) -> Outcome:
    """Redis refuses writes, the door says so with 503, and all goes on once there is room."""
    outcome = Outcome()
    server = stage.redis(prepare=_endure)
    settings = JobsSettings(redis_url=server.url)
    fleet = await stage.fleet(settings, 2)
    client = stage.client(settings)
    door = stage.door(settings)
    async with httpx.AsyncClient(base_url=door.url, timeout=60) as http:
        await door_ready(http)
        submitter = Submitter(http, pause_s=0.1)
        submitting = asyncio.create_task(submitter.run(4))
        await asyncio.sleep(1.5)
        _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (64 * 1024, hard))
        await asyncio.sleep(full_s)
        refused = submitter.answers[503]
        outcome.expect(refused > 0, f"a submission is refused with 503: {submitter.answers}")
        resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))
        room_at, before = monotonic(), submitter.accepted_count
        while submitter.accepted_count == before:
            await asyncio.sleep(0.02)
        outcome.note("accepting_again_s", monotonic() - room_at)
        await asyncio.sleep(1.0)
        submitter.stop()
        await submitting
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
    server.kill()
    server.start()
    again = Outcome()
    await audit(client, submitter.accepted, again)
    outcome.note("lost_after_restart", again.figures["lost"])
    outcome.expect(again.figures["lost"] == 0, "what was accepted is there after a restart")
    return outcome
