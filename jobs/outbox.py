"""The outbox: webhooks of ended jobs, kept until they are delivered.

The transition that ends a job writes its entry, so none is lost. An entry is leased to one door at
a time, so it is delivered at least once and seldom twice.
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
    """How many deliveries are pending, and how many failed ones are still listed."""

    pending: int
    failed: int
    oldest_due_s: float = 0.0  # how long the oldest has been due; 0: none is due


@dataclass(frozen=True)
class DeliveryTerms:
    """How deliveries are leased to one door."""

    lease_s: float  # time after which another door may take the delivery
    max_attempts: int
    limit_of_tenant: int  # calls at once
    limit_of_receiver: int  # calls at once, of all tenants
    limit_of_probes: int  # calls at once to receivers whose last call timed out


class Outbox(Protocol):
    """A store's outbox. Every method raises TransientStoreError if the store does not answer."""

    async def take(
        self,
        limit: int,
        terms: DeliveryTerms,
        under_way: Collection[Delivery],
        resting: Mapping[Line, float],
    ) -> tuple[Delivery, ...]:
        """Lease up to ``limit`` due deliveries, besides those that the door has under way.

        Tenants with the fewest deliveries under way come first, and of those the one that has
        waited longest. Deliveries of a line in ``resting`` are postponed by that many seconds,
        which does not count as an attempt; at 0 seconds they are tried one at a time.
        """

    async def settle(
        self, delivery: Delivery, outcome: Outcome, *, note: str = "", delay_s: float = 0.0
    ) -> bool:
        """Record the outcome; return False if the lease has passed to another door."""

    async def again(self, job_id: str) -> None:
        """Make a delivery due now, and count its attempts from one again.

        Raises:
            JobNotFound: there is no such job, it has not ended, or it has no webhook.
        """

    async def counts(self) -> OutboxCounts:
        """Return how many deliveries are pending, for how long, and how many have failed."""
