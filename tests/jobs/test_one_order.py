"""Both stores give one order: the same calls, made up at random, get the same answers."""

import random

import pytest

from jobs.memory_store import MemoryStore
from jobs.redis_store import RedisStore
from jobs.schema import Priority
from jobs.settings import JobsSettings
from jobs.store import Claim, JobStore, Progress
from jobs.tenants import TenantTerms
from tests.jobs.examples import spec


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
