"""What looking for deliveries costs with few and with many due, of few and of many tenants."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

from jobs.outbox import Delivery, DeliveryTerms
from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings
from jobs.webhook import Webhook
from tests.benchmarks.figures import median
from tests.jobs.examples import spec
from tests.jobs.redis.long_outbox import multiply
from tests.redis_server import redis_server

LINES = {"10_of_1": (10, 1), "100000_of_1": (100_000, 1), "100000_of_1000": (100, 1000)}
"""Deliveries a tenant, and tenants."""
PLACES = 32
TERMS = DeliveryTerms(60.0, 10, limit_of_tenant=8, limit_of_receiver=16, limit_of_probes=8)
CALLS = 200


async def _end(store: RedisStore, job_id: str, tenant: str) -> None:
    webhook = Webhook(url="https://shop.example/")
    await store.create(job_id, spec(tenant=tenant), 10, webhook=webhook)
    await store.cancel(job_id)


async def _at(store: RedisStore, per_tenant: int, tenants: int) -> dict[str, float]:
    names = [f"t{number}" for number in range(tenants)]
    for name in names:
        await _end(store, name, name)
        await multiply(store, name, per_tenant - 1)
    full = [
        Delivery(f"{name}-{number}", name, 1, f"{name}.example:443", "")
        for name in names[: PLACES // TERMS.limit_of_tenant]
        for number in range(TERMS.limit_of_tenant)
    ]
    taken: dict[str, list[float]] = {"other": [], "settle": [], "all_places": []}
    for number in range(CALLS):
        await _end(store, f"other{number}", "other")
        began = perf_counter()
        found = await store.outbox.take(1, TERMS, full, {})
        taken["other"].append(perf_counter() - began)
        assert tenants > 1 or [delivery.tenant for delivery in found] == ["other"]
        began = perf_counter()
        await store.outbox.settle(found[0], "delivered")
        taken["settle"].append(perf_counter() - began)
    for _ in range(20):
        began = perf_counter()
        found = await store.outbox.take(PLACES, TERMS, (), {})
        taken["all_places"].append(perf_counter() - began)
        for delivery in found:
            await store.outbox.settle(delivery, "retried")
    swept = perf_counter()
    await store.sweep()
    sweep_ms = 1000 * (perf_counter() - swept)
    medians = {f"{name}_ms": round(1000 * median(each), 3) for name, each in taken.items()}
    return medians | {"sweep_ms": round(sweep_ms, 3)}


async def _measure(url: str) -> dict[str, Any]:
    found = {}
    for line, (per_tenant, tenants) in LINES.items():
        store = RedisStore(JobsSettings(redis_url=url, key_prefix=line))
        found[line] = await _at(store, per_tenant, tenants)
        await store.close()
    return found


def measure() -> dict[str, Any]:
    """Return milliseconds of a call: for another tenant while these are at their limit, for all
    places, and of what follows.
    """
    with TemporaryDirectory() as folder, redis_server(Path(folder)) as url:
        return asyncio.run(_measure(url))
