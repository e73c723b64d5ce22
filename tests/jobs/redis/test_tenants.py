"""Tenants: weights, quotas, and deadlines that admission refuses."""

import contextlib

import pytest

from jobs.errors import BacklogShareExceeded, DeadlineUnmeetable, LargerThanQuota, QuotaExceeded
from jobs.redis.store import RedisStore
from jobs.schema import Priority
from jobs.store import Idempotency, Progress
from jobs.tenants import TenantLoad, TenantTerms, UnknownTenant
from tests.jobs.conftest import OpenStore
from tests.jobs.examples import claim, spec, submit, worker
from tests.jobs.redis.test_fair_order import order


async def test_tenants_are_listed_with_what_they_have_outstanding(store: RedisStore) -> None:
    await store.tenants.set(TenantTerms(name="acme", weight=3.0))
    await submit(store, "a", "acme")
    await submit(store, "b", "other", cost=20.0)
    assert await store.tenants.all() == (
        TenantLoad("acme", 3.0, 0.0, 1, 10.0, listed=True),
        TenantLoad("other", 1.0, 0.0, 1, 20.0, listed=False),
    )
    await store.tenants.remove("acme")
    assert (await store.tenants.get("acme")).weight == 1.0
    with pytest.raises(UnknownTenant):
        await store.tenants.remove("acme")


async def test_outstanding_units_follow_a_job_to_its_end(store: RedisStore) -> None:
    async def outstanding() -> float:
        return (await store.tenants.get("acme")).outstanding_units

    await submit(store, "done", "acme")
    await submit(store, "other", "acme")
    held = await claim(store)
    await store.progress([Progress(held.lease, 4, 4.0, 4)])
    assert await outstanding() == 16
    await store.requeue(held.lease, "drain")
    assert await outstanding() == 16
    await store.finish((await claim(store)).lease, 10)
    assert await outstanding() == 10
    await store.cancel("other")
    assert await outstanding() == 0
    assert await store.tenants.all() == ()


async def test_a_new_weight_counts_from_the_next_claim_on(store: RedisStore) -> None:
    for i in range(40):
        await submit(store, f"a{i}", "a")
        await submit(store, f"b{i}", "b")
    assert sum(name.startswith("a") for name in await order(store, 20)) == 10
    await store.tenants.set(TenantTerms(name="a", weight=4.0))
    assert sum(name.startswith("a") for name in await order(store, 20)) == 16


async def test_a_quota_refuses_one_tenant_and_leaves_others_alone(store: RedisStore) -> None:
    await store.tenants.set(TenantTerms(name="acme", max_units=25.0))
    await store.announce_worker(worker(2.0))
    await submit(store, "a0", "acme")
    await submit(store, "a1", "acme")
    await submit(store, "b0", "other")
    with pytest.raises(QuotaExceeded) as refused:
        await submit(store, "a2", "acme")
    # five units too many, at half of two units a second: the other tenant has the other half
    assert refused.value.retry_after_s == pytest.approx(5.0)
    assert refused.value.quota_units == 25
    assert "25 units" in str(refused.value)
    assert "'acme'" in str(refused.value)
    await submit(store, "b1", "other")
    await store.cancel("a0")
    await submit(store, "a2", "acme")
    with pytest.raises(LargerThanQuota):
        await submit(store, "a3", "acme", cost=26.0)


async def test_the_default_quota_is_for_tenants_without_their_own(open_store: OpenStore) -> None:
    store = open_store(tenant_max_units=10.0)
    await store.tenants.set(TenantTerms(name="free", max_units=0.0))
    for i in range(3):
        await submit(store, f"free{i}", "free")
    await submit(store, "bound0", "bound")
    with pytest.raises(QuotaExceeded):
        await submit(store, "bound1", "bound")


async def test_workers_that_may_be_started_count_for_a_deadline(open_store: OpenStore) -> None:
    store = open_store(max_workers=5)
    for i in range(20):
        await submit(store, f"high{i}", "other", priority=Priority.HIGH)
    for name in ("one", "two"):
        await store.announce_worker(worker(10.0, name))
    with pytest.raises(DeadlineUnmeetable) as refused:
        await submit(store, "too-soon", "acme", deadline_s=4.5)
    assert refused.value.earliest_s == pytest.approx(200 / 50 + 10 / 10, rel=0.05)
    await submit(store, "in-time", "acme", deadline_s=5.5)  # the two alone would take 11 s


async def test_a_known_key_is_answered_beyond_quota_and_deadline(store: RedisStore) -> None:
    key = Idempotency("key", "body")
    wanted = spec(deadline_s=60.0)
    await store.create("a", wanted, 50, idempotency=key)
    await store.announce_worker(worker(0.01))
    await store.tenants.set(TenantTerms(name="public", max_units=10.0))
    again = await store.create("b", wanted, 50, idempotency=key)
    assert (again.replayed, again.record.id) == (True, "a")


async def test_an_unmeetable_deadline_is_refused_with_the_earliest(store: RedisStore) -> None:
    async def earliest_s(tenant: str, deadline_s: float) -> float:
        with pytest.raises(DeadlineUnmeetable) as refused:
            await submit(store, "refused", tenant, deadline_s=deadline_s)
        return refused.value.earliest_s

    for i in range(10):
        await submit(store, f"j{i}", "acme")
    await submit(store, "unmeasured", "acme", deadline_s=100.0)
    await store.cancel("unmeasured")
    await store.announce_worker(worker(0.02, "slow"))
    await store.announce_worker(worker(0.08, "fast"))
    await submit(store, "own", "acme", deadline_s=200.0)  # before its tenant's others
    assert await earliest_s("acme", 100.0) == pytest.approx(10 / 0.08)
    assert await earliest_s("acme", 210.0) == pytest.approx(10 / 0.1 + 10 / 0.08, rel=0.05)
    await submit(store, "later", "acme", deadline_s=250.0)
    for i in range(20):
        await submit(store, f"high{i}", "other", priority=Priority.HIGH)
    assert await earliest_s("third", 2000.0) == pytest.approx(200 / 0.1 + 10 / 0.08, rel=0.05)
    await submit(store, "above", "third", deadline_s=2000.0, priority=Priority.HIGH)


async def test_no_tenant_fills_the_backlog_for_the_others(open_store: OpenStore) -> None:
    store = open_store(max_backlog_units=1000.0)

    async def fill(tenant: str) -> int:
        for number in range(100):
            with contextlib.suppress(BacklogShareExceeded):
                await submit(store, f"{tenant}{number}", tenant)
        with pytest.raises(QuotaExceeded, match="waiting for 'toy'"):
            await submit(store, "more", tenant)
        return (await store.tenants.get(tenant)).open_jobs

    filled = [await fill(tenant) for tenant in ("a", "b", "c")]
    assert filled == [50, 25, 12]  # half of what is left to each
    await submit(store, "late0", "late", cost=60.0)  # there is room for one more
    with pytest.raises(QuotaExceeded):
        await submit(store, "late1", "late", cost=60.0)
    for number in range(40):
        await store.cancel(f"a{number}")
    await submit(store, "b25", "b")  # it may have a part of what the other has given back


async def test_a_quota_of_its_own_replaces_a_tenants_share(open_store: OpenStore) -> None:
    store = open_store(max_backlog_units=100.0)
    await store.tenants.set(TenantTerms(name="big", max_units=80.0))
    for number in range(8):
        await submit(store, f"big{number}", "big")
    with pytest.raises(QuotaExceeded, match="may have 80 units outstanding"):
        await submit(store, "big8", "big")


async def test_running_work_does_not_count_towards_a_tenants_share(open_store: OpenStore) -> None:
    store = open_store(max_backlog_units=100.0)
    for number in range(5):
        await submit(store, f"a{number}", "a")
    with pytest.raises(QuotaExceeded):
        await submit(store, "a5", "a")
    for _ in range(4):
        await claim(store)
    await submit(store, "a5", "a")
