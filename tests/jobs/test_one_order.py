"""Both stores give one order: the same calls, made up at random, get the same answers."""

import random
from collections import Counter

import pytest

from jobs.memory_store import MemoryStore
from jobs.outbox import Delivery, DeliveryTerms, Outcome
from jobs.redis_store import RedisStore
from jobs.schema import Priority
from jobs.settings import JobsSettings
from jobs.store import Claim, JobStore, Progress
from jobs.tenants import TenantTerms
from jobs.webhook import Webhook
from tests.jobs.examples import spec

WEBHOOK = Webhook(url="https://shop.example/hook")


@pytest.mark.parametrize("seed", range(3))
async def test_stores_agree_on_every_claim_and_place(
    jobs_settings: JobsSettings, seed: int
) -> None:
    settings = jobs_settings.model_copy(update={"class_share": 0.2})
    redis, memory = RedisStore(settings), MemoryStore(settings)
    chooser = random.Random(seed)
    for store in (redis, memory):
        await store.tenants.set(TenantTerms(name="b", weight=2.5))
    held: list[tuple[Claim, Claim]] = []
    for i in range(150):
        act = chooser.random()
        if act < 0.45:
            await create(chooser, f"job{i}", redis, memory)
        elif act < 0.75:
            one, two = [await s.claim("toy", "w", idle=True) for s in (redis, memory)]
            assert (one is None) == (two is None)
            if one is not None and two is not None:
                assert (one.record.id, one.rank, one.weight) == (
                    two.record.id, two.rank, two.weight,
                )  # fmt: skip
                held.append((one, two))
        elif held:
            await leave(chooser, redis, memory, held.pop(chooser.randrange(len(held))))
        await same_places(redis, memory)
    assert await redis.tenants.all() == await memory.tenants.all()
    await redis.close()
    await memory.close()


@pytest.mark.parametrize("seed", range(3))
async def test_stores_agree_on_every_delivery(jobs_settings: JobsSettings, seed: int) -> None:
    redis, memory = RedisStore(jobs_settings), MemoryStore(jobs_settings)
    stores: tuple[JobStore, JobStore] = (redis, memory)
    chooser = random.Random(seed)
    terms = DeliveryTerms(lease_s=60.0, max_attempts=3, limit_of_tenant=3, limit_of_slow=2)
    held: list[tuple[Delivery, Delivery]] = []
    for i in range(150):
        act = chooser.random()
        if act < 0.5:
            tenant = chooser.choice("aaabcdefgh")
            for store in stores:
                await store.create(f"job{i}", spec(tenant=tenant), 10, webhook=WEBHOOK)
                await store.cancel(f"job{i}")
        elif act < 0.7:
            limit, busy = chooser.randrange(1, 6), dict(Counter(one.tenant for one, _ in held))
            taken = [await store.outbox.take(limit, terms, busy) for store in stores]
            told = [[(d.job_id, d.tenant, d.attempt) for d in found] for found in taken]
            assert told[0] == told[1]
            held += zip(*taken, strict=True)
        elif held:
            how: Outcome = chooser.choice(("delivered", "retried", "failed"))
            delay_s, slow = chooser.choice((0.0, 600.0)), chooser.random() < 0.4
            for store, delivery in zip(stores, held.pop(0), strict=True):
                assert await store.outbox.settle(delivery, how, delay_s=delay_s, slow=slow)
                if how == "failed" and delay_s:
                    await store.outbox.again(delivery.job_id)
        one, two = [await store.outbox.counts() for store in stores]
        assert (one.pending, one.failed) == (two.pending, two.failed)
    await redis.close()
    await memory.close()


async def create(chooser: random.Random, job_id: str, *stores: JobStore) -> None:
    wanted = spec(
        tenant=chooser.choice("abc"),
        priority=chooser.choice(list(Priority)),
        deadline_s=chooser.choice([None, None, 500.0, 7000.0]),
    )
    units = chooser.choice([10.0, 30.0, 90.0])
    for store in stores:
        await store.create(job_id, wanted, units)


async def leave(
    chooser: random.Random, redis: JobStore, memory: JobStore, claims: tuple[Claim, Claim]
) -> None:
    done, how = chooser.uniform(0, 10), chooser.choice(("requeue", "finish", "cancel"))
    for store, claim in zip((redis, memory), claims, strict=True):
        if not claim.record.units_done:
            await store.progress([Progress(claim.lease, 1, round(done, 1), 1)])
        if how == "requeue":
            await store.requeue(claim.lease, "drain")
        elif how == "finish":
            await store.finish(claim.lease, 1)
        else:
            await store.cancel(claim.record.id)


async def same_places(redis: JobStore, memory: JobStore) -> None:
    for record in (await redis.list(limit=3)).records:
        one, two = [await store.queue_position(record) for store in (redis, memory)]
        assert (one is None) == (two is None)
        if one is not None and two is not None:
            assert one.position == two.position
            assert one.units_ahead == pytest.approx(two.units_ahead, abs=1e-3)
