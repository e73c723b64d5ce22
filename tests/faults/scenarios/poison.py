"""A job kills the process of whatever worker draws it, or breaks its device."""

import os
import signal

from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from tests.faults import children
from tests.faults.outcome import Outcome
from tests.faults.stage import Stage

KILLERS = {
    "process": (children.poisoned_worker, -signal.SIGKILL),
    "device": (children.breaking_worker, os.EX_SOFTWARE),
}
"""What breaks → a worker that it does so in, and the exit code of its process."""


async def run(stage: Stage, *, breaks: str, neighbours: int, lease_s: float) -> Outcome:
    """It runs alone after two deaths and fails after three; its neighbours finish."""
    outcome = Outcome()
    settings = JobsSettings(redis_url=stage.redis().url, lease_s=lease_s)
    target, exits = KILLERS[breaks]
    fleet = await stage.fleet(settings, 2, target=target, checkpoint_s=60)
    fleet.supervise()
    client = stage.client(settings)
    names = await client.submit_many(neighbours // 2, steps=60, prefix="early")
    await client.submit("poison", prompt=children.POISON, num_inference_steps=60)
    names += await client.submit_many(neighbours - len(names), steps=60, prefix="late")
    record = await client.ended("poison", 300)
    outcome.note("poison_s", (record.finished_at or 0) - record.created_at)
    outcome.note("worker_deaths", len(fleet.ever) - 2)
    outcome.note("poison_attempts", record.attempts)
    code = record.error.code if record.error else None
    outcome.expect(
        (record.status, code) == (JobStatus.FAILED, "worker_died"), f"it fails: {record}"
    )
    outcome.expect(record.attempts == 3, f"it is tried three times, not {record.attempts}")
    outcome.expect(record.deaths == 3, f"every death counts, not {record.deaths} of them")
    await client.all_ended(neighbours + 1, 300)
    records = [await client.store.get(name) for name in names]
    done = sum(record.status is JobStatus.SUCCEEDED for record in records)
    outcome.note("neighbours_done", done)
    outcome.note("neighbours_hit", sum(record.attempts > 1 for record in records))
    outcome.expect(done == neighbours, f"every neighbour succeeds, {neighbours - done} did not")
    alone = '"alone": true' in "".join(w.log.read_text() for w in fleet.ever)
    outcome.expect(alone, "the third time it runs alone")
    ended = {w.process.poll() for w in fleet.ever} - {None}
    outcome.expect(ended == {exits}, f"workers end with {exits}, not {ended}")
    return outcome
