"""Tenants in Redis: their terms in one hash, each tenant's open jobs in a hash of its own."""

from collections.abc import Callable

import structlog
from pydantic import ValidationError
from redis.asyncio import Redis

from jobs.redis.connection import ask
from jobs.settings import JobsSettings
from jobs.tenants import TenantLoad, TenantTerms, UnknownTenant, load

log = structlog.get_logger()


class RedisTenants:
    """The :class:`jobs.tenants.Tenants` of a Redis store."""

    def __init__(self, redis: "Redis", key: Callable[..., str], settings: JobsSettings) -> None:
        self._redis = redis
        self._key = key
        self._settings = settings

    async def set(self, terms: TenantTerms) -> None:
        """Give a tenant terms of its own."""
        text = terms.model_dump_json(exclude_none=True)
        await ask(self._redis.hset(self._key("tenants"), terms.name, text))

    async def get(self, name: str) -> TenantLoad:
        """Return a tenant's terms and load."""
        return (await self._loads([name]))[0]

    async def all(self) -> tuple[TenantLoad, ...]:
        """Return the tenants with terms of their own or with open jobs, by name."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.hkeys(self._key("tenants"))
        pipe.hkeys(self._key("outstanding"))
        listed, busy = await ask(pipe.execute())
        names = sorted(name.decode() for name in {*listed, *busy})
        return await self._loads(names)

    async def remove(self, name: str) -> None:
        """Put a tenant back on the defaults."""
        if not await ask(self._redis.hdel(self._key("tenants"), name)):
            raise UnknownTenant(name)

    async def _loads(self, names: list[str]) -> tuple[TenantLoad, ...]:
        if not names:
            return ()
        pipe = self._redis.pipeline(transaction=False)
        pipe.hmget(self._key("tenants"), names)
        pipe.hmget(self._key("outstanding"), names)
        for name in names:
            pipe.hlen(self._key("open", name))
        terms, units, *jobs = await ask(pipe.execute())
        return tuple(
            load(self._settings, name, _terms(name, known), open_jobs, float(left or 0))
            for name, known, left, open_jobs in zip(names, terms, units, jobs, strict=True)
        )  # fmt: skip


def _terms(name: str, stored: bytes | None) -> TenantTerms | None:
    """Return a tenant's own terms, None if it has none; damaged ones are logged and ignored."""
    if stored is None:
        return None
    try:
        return TenantTerms.model_validate_json(stored)
    except ValidationError as error:
        log.error("a tenant's terms are damaged", tenant=name, reason=str(error))
        return None
