"""The outbox in Redis: sorted sets of job ids by when they are due, of all and of each tenant."""

import secrets
from collections.abc import Callable, Mapping
from typing import Any

from redis.asyncio import Redis

from jobs.connection import ask
from jobs.errors import JobNotFound
from jobs.outbox import QUICK_IN_A_ROW, Delivery, DeliveryTerms, OutboxCounts, Outcome
from jobs.scripts import Scripts


class RedisOutbox:
    """The :class:`jobs.outbox.Outbox` of a Redis store."""

    def __init__(self, redis: "Redis", key: Callable[..., str], scripts: Scripts) -> None:
        self._redis = redis
        self._key = key
        self._scripts = scripts

    async def take(
        self, limit: int, terms: DeliveryTerms, busy: Mapping[str, int]
    ) -> tuple[Delivery, ...]:
        """Lease deliveries that are due."""
        token = secrets.token_hex(8)
        arguments = {
            "limit": limit,
            "lease_s": terms.lease_s,
            "max_attempts": terms.max_attempts,
            "limit_of_tenant": terms.limit_of_tenant,
            "limit_of_slow": terms.limit_of_slow,
            "busy": dict(busy),
            "token": token,
        }
        found = await ask(self._scripts("take_deliveries", arguments))
        return tuple(
            Delivery(job_id.decode(), tenant.decode(), int(attempt), token)
            for job_id, tenant, attempt in found
        )

    async def settle(
        self,
        delivery: Delivery,
        outcome: Outcome,
        *,
        note: str = "",
        delay_s: float = 0.0,
        slow: bool = False,
    ) -> bool:
        """Write down how it went."""
        arguments: dict[str, Any] = {"id": delivery.job_id, "token": delivery.token}
        arguments |= {"outcome": outcome, "note": note, "delay_s": delay_s}
        arguments |= {"slow": slow, "quick_in_a_row": QUICK_IN_A_ROW}
        return bool(await ask(self._scripts("settle_delivery", arguments)))

    async def again(self, job_id: str) -> None:
        """Make a delivery due now."""
        if not await ask(self._scripts("redeliver", {"id": job_id})):
            raise JobNotFound(f"{job_id}/webhook")

    async def counts(self) -> OutboxCounts:
        """Return how much waits, since when, and how much was given up."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.zcard(self._key("outbox"))
        pipe.zcard(self._key("undelivered"))
        pipe.zrange(self._key("outbox"), 0, 0, withscores=True)
        pipe.time()
        pending, failed, first, (seconds, microseconds) = await ask(pipe.execute())
        now = seconds + microseconds / 1e6
        return OutboxCounts(pending, failed, max([0.0, *(now - due for _, due in first)]))
