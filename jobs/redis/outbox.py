"""The outbox in Redis: sorted sets of job ids by due time, one for all and one per tenant."""

import secrets
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict
from typing import Any

from redis.asyncio import Redis

from jobs.errors import JobNotFound
from jobs.outbox import Delivery, DeliveryTerms, Line, OutboxCounts, Outcome
from jobs.redis.connection import ask
from jobs.redis.scripts import Scripts


class RedisOutbox:
    """The :class:`jobs.outbox.Outbox` of a Redis store."""

    def __init__(self, redis: "Redis", key: Callable[..., str], scripts: Scripts) -> None:
        self._redis = redis
        self._key = key
        self._scripts = scripts

    async def take(
        self,
        limit: int,
        terms: DeliveryTerms,
        under_way: Collection[Delivery],
        resting: Mapping[Line, float],
    ) -> tuple[Delivery, ...]:
        """Lease due deliveries."""
        token = secrets.token_hex(8)
        probing = [delivery.line for delivery in under_way if delivery.line in resting]
        resting = {**resting, **dict.fromkeys(probing, terms.lease_s)}
        arguments = asdict(terms) | {
            "limit": limit,
            "busy": Counter(delivery.tenant for delivery in under_way),
            "calling": Counter(delivery.receiver for delivery in under_way),
            "resting": {" ".join(line): rest_s for line, rest_s in resting.items()},
            "probes": terms.limit_of_probes - len(probing),
            "token": token,
        }
        found: list[list[bytes]] = []
        put_off = True
        while put_off and not found:  # others may be due behind those put off
            found, put_off = await self._scripts("deliveries/take", arguments)
        return tuple(
            Delivery(job_id.decode(), tenant.decode(), int(attempt), receiver.decode(), token)
            for job_id, tenant, attempt, receiver in found
        )

    async def settle(
        self, delivery: Delivery, outcome: Outcome, *, note: str = "", delay_s: float = 0.0
    ) -> bool:
        """Record the outcome."""
        arguments: dict[str, Any] = {"id": delivery.job_id, "token": delivery.token}
        arguments |= {"outcome": outcome, "note": note, "delay_s": delay_s}
        return bool(await self._scripts("deliveries/settle", arguments))

    async def again(self, job_id: str) -> None:
        """Make a delivery due now."""
        if not await self._scripts("deliveries/redeliver", {"id": job_id}):
            raise JobNotFound(f"{job_id}/webhook")

    async def counts(self) -> OutboxCounts:
        """Return how many deliveries are pending, for how long, and how many have failed."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.zcard(self._key("outbox"))
        pipe.zcard(self._key("undelivered"))
        pipe.zrange(self._key("outbox"), 0, 0, withscores=True)
        pipe.time()
        pending, failed, first, (seconds, microseconds) = await ask(pipe.execute())
        now = seconds + microseconds / 1e6
        return OutboxCounts(pending, failed, max([0.0, *(now - due for _, due in first)]))
