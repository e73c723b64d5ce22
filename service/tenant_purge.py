"""Deleting all that is kept of a tenant, in batches that do not hold up the others."""

import asyncio
import contextlib
from collections.abc import Callable

from jobs.redis_store import RedisStore
from jobs.settings import JobsSettings
from jobs.tenants import UnknownTenant
from service.key_store import KeyStore
from service.keyring import KEPT_S
from service.webhook_secrets import WebhookSecrets

BATCH_JOBS = 100
PAUSE_S = 0.01  # between two batches, for other people's calls


async def purge_tenant(settings: JobsSettings, name: str, tell: Callable[[str], None]) -> int:
    """Revoke a tenant's keys, then forget its jobs, pictures, idempotency keys, deliveries, webhook
    secret and terms; return how many jobs there were. May be repeated after a failure.

    Raises:
        StoreTrouble: Redis does not answer.
    """
    store, keys, secrets = RedisStore(settings), KeyStore(settings), WebhookSecrets(settings)
    try:
        revoked = [key.id for key in await keys.all(name)]
        for key_id in revoked:
            await keys.revoke(key_id)
        tell(f"{len(revoked)} keys revoked")
        if revoked:
            await asyncio.sleep(KEPT_S)  # until no door takes a job of theirs any more
        forgotten = await _jobs(store, name)
        await secrets.forget(name)
        with contextlib.suppress(UnknownTenant):  # it had the defaults
            await store.tenants.remove(name)
        tell(f"{forgotten} jobs forgotten")
        return forgotten
    finally:
        for holder in (store, keys, secrets):
            await holder.close()


async def _jobs(store: RedisStore, name: str) -> int:
    forgotten = 0
    while dropped := await store.purge(name, BATCH_JOBS):
        forgotten += dropped
        await asyncio.sleep(PAUSE_S)
    return forgotten
