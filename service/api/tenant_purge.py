"""Deleting a tenant's data, in batches that do not delay other tenants."""

import asyncio
import contextlib
from collections.abc import Callable

from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from jobs.tenants import UnknownTenant
from service.auth.key_store import KeyStore
from service.auth.keyring import TTL_S
from service.webhooks.secrets import WebhookSecrets

BATCH_JOBS = 100
PAUSE_S = 0.01  # between two batches, for other clients of Redis


async def purge_tenant(settings: JobsSettings, name: str, report: Callable[[str], None]) -> int:
    """Revoke a tenant's keys, then delete its jobs, images, idempotency keys, deliveries, webhook
    secret and terms; return the number of jobs. Can be repeated after a failure.

    Raises:
        TransientStoreError: Redis is unavailable.
    """
    store, keys, secrets = RedisStore(settings), KeyStore(settings), WebhookSecrets(settings)
    try:
        revoked = [key.id for key in await keys.all(name)]
        for key_id in revoked:
            await keys.revoke(key_id)
        report(f"{len(revoked)} keys revoked")
        if revoked:
            await asyncio.sleep(TTL_S)  # until no door accepts jobs with these keys any more
        forgotten = 0
        while batch := await store.purge(name, BATCH_JOBS):
            forgotten += batch
            await asyncio.sleep(PAUSE_S)
        await secrets.forget(name)
        with contextlib.suppress(UnknownTenant):  # it has default terms
            await store.tenants.remove(name)
        report(f"{forgotten} jobs forgotten")
        return forgotten
    finally:
        for holder in (store, keys, secrets):
            await holder.close()
