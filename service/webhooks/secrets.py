"""The tenants' secrets for signing webhooks: ``whsec_…``, stored in plain text."""

import base64
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import orjson
import structlog
from pydantic import BaseModel, ConfigDict, ValidationError
from redis.asyncio.client import Pipeline

from jobs.redis.connection import ask, connect, disconnect
from jobs.schema import SCHEMA_VERSION
from jobs.settings import JobsSettings
from service.auth.door_keys import door_key
from service.auth.retired import Retired, retire, valid

log = structlog.get_logger()


def new_secret() -> str:
    """Return 256 random bits in Standard Webhooks' format."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class _Stored(BaseModel):
    """A tenant's secrets. Earlier versions know one previous secret."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    schema_version: int = SCHEMA_VERSION
    secret: str
    previous: str = ""
    previous_until: float = 0.0
    retired: tuple[Retired, ...] = ()

    def all_retired(self) -> tuple[Retired, ...]:
        """Return the earlier secrets, newest first, with that of an earlier version."""
        known = {secret for secret, _ in self.retired}
        previous = ((self.previous, self.previous_until),) if self.previous else ()
        return *(each for each in previous if each[0] not in known), *self.retired

    def rotated(self, overlap_s: float) -> "_Stored":
        """Return these with a new secret."""
        retired = retire(self.secret, self.all_retired(), overlap_s, time.time())
        return _Stored(
            secret=new_secret(),
            previous=retired[0][0],
            previous_until=retired[0][1],
            retired=retired,
        )


class WebhookSecrets:
    """Finds and rotates secrets; every method raises TransientStoreError if Redis is away."""

    def __init__(self, settings: JobsSettings) -> None:
        self._redis = connect(settings)
        self._key = door_key(settings, "webhook_secrets")

    async def of(self, tenant: str) -> tuple[str, ...]:
        """Return the tenant's secrets, newest first; one is created if there is none."""
        text = await ask(cast(Awaitable[Any], self._redis.hget(self._key, tenant)))
        kept = _parse(tenant, text) or await self._change(
            tenant, lambda stored: stored or _Stored(secret=new_secret())
        )
        return (kept.secret, *valid(kept.all_retired(), time.time()))

    async def rotate(self, tenant: str, overlap_s: float) -> str:
        """Give the tenant a new secret; earlier ones sign too, for at most ``overlap_s``."""

        def rotated(stored: _Stored | None) -> _Stored:
            return (stored or _Stored(secret=new_secret())).rotated(overlap_s)

        return (await self._change(tenant, rotated)).secret

    async def _change(self, tenant: str, change: Callable[[_Stored | None], _Stored]) -> _Stored:
        """Change what is stored, one caller after the other; return it."""
        changed: list[_Stored] = []

        async def run(pipe: Pipeline) -> None:
            text = await cast(Awaitable[Any], pipe.hget(self._key, tenant))
            stored = _parse(tenant, text)
            new = change(stored)
            cast(Any, pipe).multi()
            if new != stored:
                pipe.hset(self._key, tenant, cast(Any, orjson.dumps(new.model_dump())))
            changed[:] = [new]

        await ask(self._redis.transaction(cast(Any, run), self._key))
        return changed[0]

    async def forget(self, tenant: str) -> None:
        """Delete a tenant's secrets; a new one is created when it is next needed."""
        await ask(cast(Awaitable[Any], self._redis.hdel(self._key, tenant)))

    async def close(self) -> None:
        """Release connections."""
        await disconnect(self._redis, "the webhook secrets")


def _parse(tenant: str, text: bytes | None) -> _Stored | None:
    """Return stored secrets; damaged ones are logged, and replaced like missing ones."""
    if text is None:
        return None
    try:
        return _Stored.model_validate_json(text)
    except ValidationError as error:
        log.error("webhook secrets are damaged", tenant=tenant, fields=error.error_count())
        return None
