"""How many accepted jobs a Redis that has forgotten writes no longer knows."""

from jobs.errors import JobNotFound
from jobs.schema import JobStatus
from tests.faults.client import Client
from tests.faults.outcome import Outcome


async def count_lost(client: Client, names: list[str], outcome: Outcome) -> int:
    """Return how many jobs are gone; those that are there have to succeed."""
    lost = 0
    for name in names:
        try:
            record = await client.ended(name, 300)
        except JobNotFound:
            lost += 1
        else:
            done = record.status is JobStatus.SUCCEEDED
            outcome.expect(done, f"{name} succeeds, not {record.status}")
    return lost
