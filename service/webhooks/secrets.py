"""The tenants' secrets for signing webhooks: ``whsec_…``, stored in plain text."""

import base64
import secrets
import time
from collections.abc import Awaitable
from typing import Any, cast

import orjson

from jobs.redis.connection import ask, connect, disconnect
from jobs.settings import JobsSettings
from service.auth.door_keys import door_key


def new_secret() -> str:
    """Return 256 random bits in Standard Webhooks' format."""
    return "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode()


class WebhookSecrets:
    """Finds and rotates secrets; every method raises TransientStoreError if Redis is away."""

    def __init__(self, settings: JobsSettings) -> None:
        self._redis = connect(settings)
        self._key = door_key(settings, "webhook_secrets")

    async def of(self, tenant: str) -> tuple[str, ...]:
        """Return the tenant's secrets, newest first; one is created if there is none."""
        fields = {"secret": new_secret(), "previous": "", "previous_until": 0}
        pipe = self._redis.pipeline(transaction=False)
        pipe.hsetnx(self._key, tenant, orjson.dumps(fields))
        pipe.hget(self._key, tenant)
        kept = orjson.loads((await ask(pipe.execute()))[1])
        if kept["previous"] and time.time() < kept["previous_until"]:
            return kept["secret"], kept["previous"]
        return (kept["secret"],)

    async def rotate(self, tenant: str, overlap_s: float) -> str:
        """Give the tenant a new secret; the old one signs too for ``overlap_s``."""
        old = (await self.of(tenant))[0]
        fields = {
            "secret": new_secret(),
            "previous": old,
            "previous_until": time.time() + overlap_s,
        }
        call = self._redis.hset(self._key, tenant, cast(Any, orjson.dumps(fields)))
        await ask(cast(Awaitable[Any], call))
        return str(fields["secret"])

    async def forget(self, tenant: str) -> None:
        """Delete a tenant's secrets; a new one is created when it is next needed."""
        await ask(cast(Awaitable[Any], self._redis.hdel(self._key, tenant)))

    async def close(self) -> None:
        """Release connections."""
        await disconnect(self._redis, "the webhook secrets")
