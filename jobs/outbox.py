"""The outbox: ends of jobs that clients are to be told of, kept until they have been.

An entry is written in the transition that ends the job, so none is lost; it is leased to one door
at a time, so that it is delivered at least once and seldom twice.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

QUICK_IN_A_ROW = 3
"""So many quick answers let a tenant whose receiver was slow take part as any other."""
Outcome = Literal["delivered", "retried", "failed"]


@dataclass(frozen=True)
class Delivery:
    """One attempt at telling a client, leased to a door."""

    job_id: str
    tenant: str
    attempt: int  # from 1
    token: str


@dataclass(frozen=True)
class OutboxCounts:
    """How many deliveries wait, and how many were given up and are still in sight."""

    pending: int
    failed: int
    oldest_due_s: float = 0.0  # since when the first one could have been tried; 0 where none is due


@dataclass(frozen=True)
class DeliveryTerms:
    """How deliveries are handed out."""

    lease_s: float  # silence after which another door tries
    max_attempts: int
    limit_of_tenant: int  # at once and door
    limit_of_slow: int  # the same, for all tenants together whose receivers were slow


class Outbox(Protocol):
    """A store's outbox. Every method raises StoreTrouble where the store does not answer."""

    async def take(
        self, limit: int, terms: DeliveryTerms, busy: Mapping[str, int]
    ) -> tuple[Delivery, ...]:
        """Lease deliveries that are due; ``busy`` counts what the door has under way by tenant.

        Each goes to the tenant with the fewest under way, and of those to the one that has been
        without the longest, so that no tenant's line is another's wait; those whose receivers were
        slow have ``limit_of_slow`` between them, so that what hangs does not fill the door.
        """
        ...

    async def settle(
        self,
        delivery: Delivery,
        outcome: Outcome,
        *,
        note: str = "",
        delay_s: float = 0.0,
        slow: bool = False,
    ) -> bool:
        """Write down how it went; False where the lease has gone to another door.

        ``slow`` counts against the tenant until ``QUICK_IN_A_ROW`` answers were not, or nothing
        of it waits any more.
        """
        ...

    async def again(self, job_id: str) -> None:
        """Make a delivery due now, from the first attempt on.

        Raises:
            JobNotFound: there is no such job, it has not ended, or it has no webhook.
        """
        ...

    async def counts(self) -> OutboxCounts:
        """Return how much waits, since when, and how much was given up."""
        ...
