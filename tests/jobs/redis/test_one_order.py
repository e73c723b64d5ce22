"""Redis and the oracles give one order: random calls get the same answers from both."""

import random
from collections import Counter
from time import time

import pytest

from jobs.outbox import Delivery, DeliveryTerms, Outcome
from jobs.redis.store import RedisStore
from jobs.schema import Priority
from jobs.settings import JobsSettings
from jobs.store import Claim, Progress
from jobs.tenants import TenantTerms
from jobs.webhook import Webhook
from tests.jobs.examples import spec
from tests.jobs.redis.oracle.fair_order import FairOrder, Waiting
from tests.jobs.redis.oracle.outbox_order import OutboxOrder

WEBHOOK = Webhook(url="https://shop.example/hook")
WEIGHTS = {"a": 1.0, "b": 2.5, "c": 1.0}
SHARE = 0.2


@pytest.mark.parametrize("seed", range(3))
async def test_every_claim_and_place_is_the_oracles(jobs_settings: JobsSettings, seed: int) -> None:
    store = RedisStore(jobs_settings.model_copy(update={"class_share": SHARE}))
    oracle, chooser = FairOrder(WEIGHTS.__getitem__), random.Random(seed)
    await store.tenants.set(TenantTerms(name="b", weight=WEIGHTS["b"]))
    jobs: dict[str, Waiting] = {}
    held: list[tuple[Claim, Waiting]] = []
    for seq in range(150):
        act = chooser.random()
        if act < 0.45:
            job = await create(store, chooser, seq, jobs_settings.patience_s)
            oracle.enqueue(job)
            jobs[job.id] = job
        elif act < 0.75:
            tenant = chooser.choice([None, None, *"abc"])
            claim = await store.claim("toy", "w", idle=True, tenant=tenant)
            next_job = oracle.claim(SHARE, tenant)
            assert (claim is None) == (next_job is None)
            if claim is not None and next_job is not None:
                assert (claim.record.id, claim.rank) == (next_job.id, next_job.served_as)
                assert claim.weight == WEIGHTS[next_job.tenant]
                held.append((claim, next_job))
        elif held:
            claim, job = held.pop(chooser.randrange(len(held)))
            if not await leave(store, oracle, chooser, claim, job):
                del jobs[job.id]
        await same_places(store, oracle, jobs)
    for load in await store.tenants.all():
        mine = [job.remaining for job in jobs.values() if job.tenant == load.name]
        assert load.open_jobs == len(mine)
        assert load.outstanding_units == pytest.approx(sum(mine))
    await store.close()


async def create(store: RedisStore, chooser: random.Random, seq: int, patience_s: float) -> Waiting:
    wanted = spec(
        tenant=chooser.choice("abc"),
        priority=chooser.choice(list(Priority)),
        deadline_s=chooser.choice([None, None, 500.0, 7000.0]),
    )
    units = chooser.choice([10.0, 30.0, 90.0])
    record = (await store.create(f"job{seq}", wanted, units)).record
    due = record.expires_at or record.created_at + patience_s
    return Waiting(record.id, wanted.tenant, wanted.priority.rank, units, due, seq)


async def leave(
    store: RedisStore, oracle: FairOrder, chooser: random.Random, claim: Claim, job: Waiting
) -> bool:
    """Let a job leave its worker; return whether it waits again."""
    done, how = round(chooser.uniform(0, 10), 1), chooser.choice(("requeue", "finish", "cancel"))
    if not claim.record.units_done:
        await store.progress([Progress(claim.lease, 1, done, 1)])
        job.remaining -= done
    if how == "requeue":
        await store.requeue(claim.lease, "drain")
    elif how == "finish":
        await store.finish(claim.lease, 1)
        job.remaining = 0.0
    else:
        await store.cancel(claim.record.id)
    oracle.give_back(job)
    if how == "requeue":
        job.fresh = False
        oracle.enqueue(job)
    return how == "requeue"


async def same_places(store: RedisStore, oracle: FairOrder, jobs: dict[str, Waiting]) -> None:
    for record in (await store.list(limit=3)).records:
        place = await store.queue_position(record)
        if place is not None:
            before, units = oracle.ahead(jobs[record.id])
            assert place.position == before + 1
            assert place.units_ahead == pytest.approx(units, abs=1e-3)


@pytest.mark.parametrize("seed", range(3))
async def test_every_delivery_is_the_oracles(store: RedisStore, seed: int) -> None:
    outbox, chooser = store.outbox, random.Random(seed)
    terms = DeliveryTerms(60.0, 3, limit_of_tenant=3, limit_of_receiver=99, limit_of_probes=9)
    oracle = OutboxOrder(terms.max_attempts, terms.limit_of_tenant)
    held: list[Delivery] = []
    for i in range(150):
        act = chooser.random()
        if act < 0.5:
            tenant = chooser.choice("aaabcdefgh")
            await store.create(f"job{i}", spec(tenant=tenant), 10, webhook=WEBHOOK)
            await store.cancel(f"job{i}")
            oracle.post(f"job{i}", tenant, time())
        elif act < 0.7:
            limit, busy = chooser.randrange(1, 6), Counter(one.tenant for one in held)
            taken = await outbox.take(limit, terms, held, {})
            expected = oracle.take(time(), limit, terms.lease_s, busy)
            assert [(d.job_id, d.tenant, d.attempt) for d in taken] == expected
            held += taken
        elif held:
            how: Outcome = chooser.choice(("delivered", "retried", "failed"))
            delay_s, delivery = chooser.choice((0.0, 600.0)), held.pop(0)
            assert await outbox.settle(delivery, how, delay_s=delay_s)
            oracle.settle(delivery.job_id, how, time() + delay_s)
            if how == "failed" and delay_s:
                await outbox.again(delivery.job_id)
                oracle.post(delivery.job_id, delivery.tenant, time())
        counts = await outbox.counts()
        assert (counts.pending, counts.failed) == (len(oracle.waiting), len(oracle.failed))
