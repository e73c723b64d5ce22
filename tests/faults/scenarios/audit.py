"""What must hold after any fault: every job has ended once, as it should, with its picture."""

import asyncio
from collections.abc import Sequence

from jobs.schema import JobRecord, JobStatus
from tests.faults.client import Client
from tests.faults.outcome import Outcome


async def audit(client: Client, names: Sequence[str], outcome: Outcome) -> list[JobRecord]:
    """Check that every job has succeeded exactly once; return the records."""
    looked = [await _look(client, chunk) for chunk in _chunks(names, 50)]
    found = [pair for chunk in looked for pair in chunk]
    records = [record for record, _ in found]
    done = [record for record in records if record.status is JobStatus.SUCCEEDED]
    twice = [record for record, results in found if results != 1]
    total = await client.count_ended()
    outcome.note("jobs", len(done))
    outcome.note("lost", len(names) - len(done))
    outcome.note("duplicated", len(twice) + max(0, total - len(names)))
    outcome.expect(len(done) == len(names), f"every job succeeds: {_others(records)}")
    outcome.expect(not twice, f"every job ends once, not {[record.id for record in twice][:5]}")
    outcome.expect(total == len(names), f"the store counts {len(names)} ends, not {total}")
    return records


def _chunks(names: Sequence[str], size: int) -> list[Sequence[str]]:
    return [names[i : i + size] for i in range(0, len(names), size)]


async def _look(client: Client, names: Sequence[str]) -> list[tuple[JobRecord, int]]:
    return await asyncio.gather(*(_ends(client, name) for name in names))


async def _ends(client: Client, name: str) -> tuple[JobRecord, int]:
    record = await client.store.get(name)
    results = 0
    if record.status.ended:
        results = len([e async for e in client.store.events(name) if e.kind == "result"])
    if record.status is JobStatus.SUCCEEDED:
        assert (await client.store.image(name, 0)).data
    return record, results


def _others(records: Sequence[JobRecord]) -> list[str]:
    wrong = [r for r in records if r.status is not JobStatus.SUCCEEDED]
    return [f"{r.id} {r.status} {r.error.code if r.error else ''}".strip() for r in wrong][:5]
