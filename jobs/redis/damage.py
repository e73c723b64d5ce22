"""Stored records that cannot be read: logged once, counted until they are gone."""

from collections.abc import Callable
from typing import Any, cast

import structlog
from redis.asyncio import Redis

from jobs.redis.connection import ask

log = structlog.get_logger()


class Damage:
    """The set of damaged records; scripts and announcements take out what is rewritten."""

    def __init__(self, redis: "Redis", key: Callable[..., str]) -> None:
        self._redis = redis
        self._key = key

    async def note_job(self, job_id: str, error: Exception) -> None:
        """Log a damaged job once, and count it until it is deleted."""
        await self._note(f"job:{job_id}", error)
        if not await ask(self._redis.exists(self._key("job", job_id))):
            await self._forget(f"job:{job_id}")

    async def note_model(self, name: bytes, value: bytes, error: Exception) -> None:
        """Log a model's damaged entry once, and count it until it is rewritten or deleted."""
        record = f"model:{name.decode('utf-8', 'backslashreplace')}"
        await self._note(record, error)
        if await ask(self._redis.hget(self._key("models"), cast(Any, name))) != value:
            await self._forget(record)

    async def _note(self, record: str, error: Exception) -> None:
        if await ask(self._redis.sadd(self._key("unreadable"), record)):
            log.error("a stored record is damaged", record=record, reason=str(error))

    async def _forget(self, record: str) -> None:
        """Take out what was rewritten or deleted between its reading and its note."""
        await ask(self._redis.srem(self._key("unreadable"), record))
