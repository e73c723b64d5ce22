"""Deleting a tenant: nothing that names it is left in Redis."""

import asyncio
from typing import Any

from redis import Redis

from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from jobs.tenants import TenantTerms
from service.auth.key_store import KeyStore
from service.auth.scope import Scope
from service.webhooks.secrets import WebhookSecrets
from tests.conftest import Opened
from tests.jobs.examples import MODEL
from tests.service.conftest import Command
from tests.service.doors import submit
from tests.service.keyed import keyed_door
from tests.service.worker import draw

NAME = "leaving-tenant"


def everything(settings: JobsSettings) -> str:
    """Return all keys and values of a deployment."""
    found = []
    with Redis.from_url(settings.redis_url) as redis:
        for name in redis.scan_iter(match=f"*{settings.key_prefix}*"):
            found.append(name)
            match redis.type(name):
                case b"hash":
                    found.append(redis.hgetall(name))
                case b"string":
                    found.append(redis.get(name))
                case b"set":
                    found.append(redis.smembers(name))
                case b"zset":
                    found.append(redis.zrange(name, 0, -1))
                case b"stream":
                    found.append(redis.xrange(name))
    return repr(found)


async def furnish(
    settings: JobsSettings, store: RedisStore, name: str, opened: Opened[Any]
) -> list[str]:
    """Leave a tenant with keys, a secret, terms, jobs and pictures; return its jobs."""
    await store.announce_model(MODEL)
    await store.tenants.set(TenantTerms(name=name, weight=2.0))
    keys, secrets = opened(KeyStore(settings)), opened(WebhookSecrets(settings))
    await keys.create(name, frozenset({Scope.JOBS}))
    await secrets.of(name)
    jobs = []
    async with keyed_door(settings, webhooks_at_once=0) as door, await door.caller(name) as http:
        webhook, prompt = {"url": "https://shop.example/"}, f"a secret of {name}"
        for number in range(4):
            key = {"idempotency-key": f"k{number}"}
            jobs.append(await submit(http, key, prompt=prompt, webhook=webhook))
    await draw(store)
    await store.cancel(jobs[-1])
    return jobs


async def test_nothing_of_a_purged_tenant_is_left(
    jobs_settings: JobsSettings, store: RedisStore, command: Command, opened: Opened[Any]
) -> None:
    jobs = await furnish(jobs_settings, store, NAME, opened)
    staying = await furnish(jobs_settings, store, "staying", opened)
    with Redis.from_url(jobs_settings.redis_url) as redis:  # where the audit of shares may stand
        audit = {"tenant": NAME, "cursor": 0}
        redis.hset(f"{{{jobs_settings.key_prefix}}}:audit", mapping=audit)
    before = everything(jobs_settings)
    assert all(word in before for word in (NAME, *jobs))
    await asyncio.to_thread(command, "tenants", "purge", NAME, code=1, input="n\n")
    assert everything(jobs_settings).count(NAME) == before.count(NAME)
    outcome = await asyncio.to_thread(command, "tenants", "purge", NAME, "--yes")
    assert "4 jobs forgotten" in outcome.output
    after = everything(jobs_settings)
    for word in (NAME, *jobs):
        at = after.find(word)
        assert at < 0, after[max(0, at - 300) : at + 100]
    assert all(job in after for job in staying)
