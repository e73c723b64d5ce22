"""The outbox: webhooks of ended jobs, kept until they are delivered.

An entry is written in the transition that ends the job, so none is lost. It is leased to one door
at a time, so it is delivered at least once and seldom twice.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

Outcome = Literal["delivered", "retried", "failed"]
Line = tuple[str, str]
"""A tenant and one of its receivers."""


@dataclass(frozen=True)
class Delivery:
    """One attempt at a delivery, leased to a door."""

    job_id: str
    tenant: str
    attempt: int  # from 1
    receiver: str  # host:port
    token: str

    @property
    def line(self) -> Line:
        """The tenant and the receiver."""
        return self.tenant, self.receiver


@dataclass(frozen=True)
class OutboxCounts:
    """How many deliveries wait, and how many were given up and are still listed."""

    pending: int
    failed: int
    oldest_due_s: float = 0.0  # for how long the first has been due; 0: none is


@dataclass(frozen=True)
class DeliveryTerms:
    """How deliveries are handed out to one door."""

    lease_s: float  # silence after which another door tries
    max_attempts: int
    limit_of_tenant: int  # calls at once
    limit_of_receiver: int  # calls at once, of all tenants
    limit_of_probes: int  # calls at once to receivers whose last call timed out


class Outbox(Protocol):
    """A store's outbox. Every method raises StoreTrouble if the store does not answer."""

    async def take(
        self,
        limit: int,
        terms: DeliveryTerms,
        under_way: Collection[Delivery],
        resting: Mapping[Line, float],
    ) -> tuple[Delivery, ...]:
        """Lease at most ``limit`` due deliveries, beside those that the door has under way.

        Each goes to the tenant with the fewest under way, and among those to the one that has
        waited the longest. A line in ``resting`` has its deliveries put off by so many seconds,
        which counts as no attempt; at 0 seconds one of them is tried at a time.
        """
        ...

    async def settle(
        self, delivery: Delivery, outcome: Outcome, *, note: str = "", delay_s: float = 0.0
    ) -> bool:
        """Record the outcome; False if the lease has passed to another door."""
        ...

    async def again(self, job_id: str) -> None:
        """Make a delivery due now, counting attempts from one.

        Raises:
            JobNotFound: there is no such job, it has not ended, or it has no webhook.
        """
        ...

    async def counts(self) -> OutboxCounts:
        """Return how many deliveries wait, for how long, and how many were given up."""
        ...
