"""Stored records that cannot be read: logged once, counted until they are gone."""

from collections.abc import Callable

import structlog
from redis.asyncio import Redis

from jobs.redis.connection import ask

log = structlog.get_logger()


class Damage:
    """The set of damaged records; scripts and announcements take out what is rewritten."""

    def __init__(self, redis: "Redis", key: Callable[..., str]) -> None:
        self._redis = redis
        self._key = key("unreadable")

    async def note(self, record: str, error: Exception) -> None:
        """Log a damaged record once, and count it until it is rewritten or deleted."""
        if await ask(self._redis.sadd(self._key, record)):
            log.error("a stored record is damaged", record=record, reason=str(error))
