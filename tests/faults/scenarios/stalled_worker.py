"""A worker stalls past its lease and wakes when another one has its jobs."""

from functools import partial

from jobs.schema import JobRecord, JobStatus
from jobs.settings import JobsSettings
from tests.faults.client import Client, until
from tests.faults.outcome import Outcome
from tests.faults.processes import Worker
from tests.faults.scenarios.audit import audit
from tests.faults.stage import Stage


async def run(stage: Stage, *, stalls: int) -> Outcome:
    """Every write of the stale claim is refused: no event of its attempt follows."""
    outcome = Outcome()
    settings = JobsSettings(redis_url=stage.redis().url, lease_s=1.2)
    fleet = await stage.fleet(settings, 2, checkpoint_s=0.2, publish_s=0.05)
    client = stage.client(settings)
    stalled = stale_events = 0
    names: list[str] = []
    while stalled < stalls:
        assert len(names) < 10 * stalls, f"of {len(names)} jobs {stalled} met a stall"
        names.append(name := f"job{len(names)}")
        await client.submit(name, num_inference_steps=120)
        moving = await client.seen(f"{name} moving", name, _moving)
        holder = fleet.get(moving.worker)
        before = refusals(holder)
        holder.freeze()
        again = await client.seen(f"another claim of {name}", name, partial(_claimed_after, moving))
        holder.thaw()
        if again.attempts == moving.attempts:  # it ended before the worker stood still
            continue
        stalled += 1
        record = await client.ended(name)
        await _refused(holder, before)
        stale_events += await _out_of_order(client, name)
        kept = record.attempts > again.attempts or record.worker != holder.name
        outcome.expect(kept, f"{name} ends with another worker")
    await audit(client, names, outcome)
    outcome.note("stalls", stalls)
    outcome.note("refused", sum(refusals(worker) for worker in fleet))
    outcome.note("stale_writes", stale_events)
    outcome.expect(stale_events == 0, f"no stale write gets through, {stale_events} did")
    return outcome


def refusals(worker: Worker) -> int:
    """Return how many of the worker's writes were refused."""
    return worker.log.read_text().count("job lease lost")


def _moving(record: JobRecord) -> bool:
    return record.status.ended or (record.status is JobStatus.RUNNING and record.step >= 10)


def _claimed_after(moving: JobRecord, record: JobRecord) -> bool:
    return record.attempts > moving.attempts or record.status.ended


async def _refused(worker: Worker, before: int) -> None:
    async def refused() -> bool:
        return refusals(worker) > before

    await until(f"a refusal of a write by {worker.name}", refused)


async def _out_of_order(client: Client, name: str) -> int:
    attempts = [event.attempt async for event in client.store.events(name)]
    return sum(a < b for a, b in zip(attempts[1:], attempts, strict=False))
