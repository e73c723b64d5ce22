"""The store's order: classes, fair shares, deadlines, places in the queue."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from string import digits
from time import monotonic
from typing import Any, TypeVar

from jobs.redis.store import RedisStore
from jobs.schema import SCHEMA_VERSION, Priority
from jobs.store import Claim, Progress
from jobs.tenants import Holding, Share, TenantTerms
from tests.jobs.conftest import OpenStore
from tests.jobs.examples import claim, submit

T = TypeVar("T")


async def at_once(calls: Callable[[], Awaitable[T]]) -> T:
    """Return what calls return that are all made within the second for which Redis counts them."""
    while True:
        began = monotonic()
        found = await calls()
        if monotonic() - began < 1.0:
            return found
        await asyncio.sleep(1.0)  # until they are forgotten


async def order(store: RedisStore, count: int) -> list[str]:
    return [(await claim(store)).record.id for _ in range(count)]


async def test_a_greedy_tenant_does_not_hold_up_a_small_one(store: RedisStore) -> None:
    for i in range(6):
        await submit(store, f"greedy{i}", "greedy")
    await submit(store, "small0", "small")
    await submit(store, "small1", "small")
    assert await order(store, 8) == [
        "greedy0", "small0", "greedy1", "small1", "greedy2", "greedy3", "greedy4", "greedy5",
    ]  # fmt: skip


async def test_tenants_get_equal_units_not_equal_jobs(store: RedisStore) -> None:
    for i in range(3):
        await submit(store, f"big{i}", "big", cost=30.0)
    for i in range(9):
        await submit(store, f"many{i}", "many", cost=10.0)
    served = await order(store, 12)
    assert [sum(name.startswith("many") for name in served[:n]) for n in (4, 8, 12)] == [3, 6, 9]


async def test_idling_earns_nothing(store: RedisStore) -> None:
    await submit(store, "b-early", "b")
    await claim(store)
    for i in range(5):
        await submit(store, f"a{i}", "a")
    await order(store, 3)
    for i in range(4):
        await submit(store, f"b{i}", "b")
    # b comes back to where a stands; it does not get the three turns it was away for
    assert await order(store, 4) == ["b0", "a3", "b1", "a4"]


async def test_a_tenants_own_jobs_go_by_deadline_then_age(store: RedisStore) -> None:
    await submit(store, "none0")
    await submit(store, "late", deadline_s=7000.0)
    await submit(store, "soon", deadline_s=1200.0)
    await submit(store, "sooner", deadline_s=600.0)
    await submit(store, "none1")
    assert await order(store, 5) == ["sooner", "soon", "none0", "none1", "late"]


async def test_an_interrupted_job_goes_first_at_no_cost(store: RedisStore) -> None:
    for i in range(3):
        await submit(store, f"a{i}", "a", cost=100.0)
        await submit(store, f"b{i}", "b", cost=100.0)
    first = await claim(store)
    await store.progress([Progress(first.lease, 2, 20.0, 2)])
    await store.requeue(first.lease, "drain")
    assert first.record.id == "a0"
    # a has used 20 units, so b is next; then a's interrupted job, and both stand at 100
    assert await order(store, 5) == ["b0", "a0", "a1", "b1", "a2"]


async def test_every_class_below_gets_its_share_under_constant_load(open_store: OpenStore) -> None:
    store = open_store(class_share=0.1)
    for name, priority in (("high", "high"), ("norm", "normal"), ("low", "low")):
        for i in range(60):
            await submit(store, f"{name}{i}", priority=priority)
    served = await order(store, 60)
    assert Counter(name.rstrip(digits) for name in served) == {
        "high": 50,
        "norm": 5,
        "low": 5,
    }


async def test_a_job_served_for_its_share_has_the_rank_it_passed(open_store: OpenStore) -> None:
    store = open_store(class_share=0.3)
    for i in range(5):
        await submit(store, f"high{i}", priority=Priority.HIGH)
    await submit(store, "low", priority=Priority.LOW)
    claims = [await claim(store) for _ in range(6)]
    ranks = {each.record.id: each.rank for each in claims}
    assert list(ranks) == ["high0", "high1", "high2", "high3", "low", "high4"]
    assert ranks["low"] == 0
    await submit(store, "low2", priority=Priority.LOW)
    assert (await claim(store)).rank == 2


async def test_positions_are_those_of_the_claims_that_follow(store: RedisStore) -> None:
    for i in range(4):
        await submit(store, f"b{i}", "b")
    for i in range(4):
        await submit(store, f"a{i}", "a")
    await submit(store, "c0", "c", priority=Priority.HIGH, cost=7.0)
    names = [f"{tenant}{i}" for tenant in "ab" for i in range(4)] + ["c0"]
    places = {}
    for name in names:
        place = await store.queue_position(await store.get(name))
        assert place is not None
        places[name] = place
    served = await order(store, len(names))
    assert [places[name].position for name in served] == list(range(1, 10))
    assert [places[name].units_ahead for name in served] == [0.0] + [7.0 + 10 * i for i in range(8)]
    assert await store.queue_position(await store.get("c0")) is None  # it runs


async def test_cancelled_and_deleted_jobs_leave_the_queue(store: RedisStore) -> None:
    for i in range(4):
        await submit(store, f"j{i}")
    await store.cancel("j0")
    await store.delete("j2")
    place = await store.queue_position(await store.get("j3"))
    assert place is not None
    assert (place.position, place.units_ahead) == (2, 10.0)
    assert await order(store, 2) == ["j1", "j3"]
    assert await store.claim("toy", "w", idle=True) is None


async def test_a_full_worker_learns_that_a_higher_class_waits(open_store: OpenStore) -> None:
    store, patient = open_store(park_after_s=0.0), open_store(park_after_s=3600.0)
    await submit(store, "running")
    lease = (await claim(store)).lease
    await submit(store, "low", priority=Priority.LOW)
    assert (await store.renew([lease], preemptible=1)).higher_waiting is None
    await submit(store, "high", priority=Priority.HIGH)
    assert (await store.renew([lease])).higher_waiting is None  # it is not full
    assert (await store.renew([lease], preemptible=0)).higher_waiting is None
    assert (await patient.renew([lease], preemptible=1)).higher_waiting is None  # it has just come
    assert (await store.renew([lease], preemptible=1)).higher_waiting == 0


async def test_a_clock_that_is_set_back_holds_up_no_preemption(
    open_store: OpenStore, redis: Any, prefix: str
) -> None:
    store = open_store(park_after_s=0.0)
    await submit(store, "low", priority=Priority.LOW)
    lease = (await claim(store)).lease
    await submit(store, "high", priority=Priority.HIGH)
    redis.set(f"{prefix}:called:toy", 99, px=3_600_000)  # what an hour back makes of a second
    assert (await store.renew([lease], preemptible=2)).higher_waiting == 0


async def test_no_more_workers_preempt_than_jobs_wait(open_store: OpenStore) -> None:
    store = open_store(park_after_s=0.0)
    for i in range(5):
        await submit(store, f"running{i}", priority=Priority.LOW)
    leases = [(await claim(store)).lease for _ in range(5)]
    for i in range(2):
        await submit(store, f"waits{i}")

    async def told() -> list[int | None]:
        return [(await store.renew([lease], preemptible=2)).higher_waiting for lease in leases]

    assert await at_once(told) == [1, 1, None, None, None]


async def test_a_claim_may_ask_for_higher_classes_alone(store: RedisStore) -> None:
    for name in ("low", "high"):
        await submit(store, name, priority=Priority(name))
    for above, expected in ((0, None), (1, "high"), (2, None), (None, "low")):
        found = await store.claim("toy", "w", idle=True, above=above)
        assert (found and found.record.id) == expected, above


async def test_jobs_that_none_may_claim_hide_no_other(
    open_store: OpenStore, redis: Any, prefix: str
) -> None:
    """However many late, suspect or newer ones wait before it, and in however many lanes."""
    store = open_store(suspect_wait_s=3600.0)
    for tenant in range(20):
        for number in range(40):
            await submit(store, f"unfit{tenant}-{number}", f"a{tenant:02}")
    kinds = ({"schema_version": SCHEMA_VERSION + 1}, {"expires_at": 1}, {"deaths": 2})
    for tenant in range(20):
        for number in range(40):
            redis.hset(f"{prefix}:job:unfit{tenant}-{number}", mapping=kinds[number % 3])
    await submit(store, "behind", "a00")
    await submit(store, "other", "zoe")
    fit = {(await claim(store, idle=False)).record.id for _ in range(2)}
    assert fit == {"behind", "other"}
    assert await store.claim("toy", "w", idle=False) is None
    suspects = [await claim(store, idle=True) for _ in range(3)]
    assert all(held.alone for held in suspects)


async def shared(store: RedisStore, claims: list[Claim], slots: int = 1) -> Share | None:
    """Renew as a full worker whose jobs hold so many slots each."""
    held = [Holding(each.record.id, slots, preemptible=True) for each in claims]
    leases = [each.lease for each in claims]
    return (await store.renew(leases, preemptible=1, held=held)).share


async def test_slots_are_shared_between_tenants_of_a_class(open_store: OpenStore) -> None:
    store, patient = open_store(park_after_s=0.0), open_store(park_after_s=3600.0)
    for i in range(6):
        await submit(store, f"a{i}", "a", cost=100.0 + i)
    claims = [await claim(store) for _ in range(4)]
    assert await shared(store, claims) is None  # its own jobs that wait change nothing
    await submit(store, "b0", "b", cost=1000.0)
    assert await shared(patient, claims) is None  # it has just come

    async def twice() -> list[Share | None]:
        return [await shared(store, claims) for _ in range(2)]

    # the job with most work left of the tenant with most slots, and another worker is told nothing
    assert await at_once(twice) == [Share("b", "a3"), None]
    await store.requeue(claims.pop().lease, "parked")
    given = await store.claim("toy", "w", idle=False, tenant="b")
    assert given is not None
    assert given.record.id == "b0"
    await submit(store, "b1", "b", cost=1000.0)
    await asyncio.sleep(1.0)  # until workers are told again
    assert await shared(store, [*claims, given]) == Share("b", "a2")  # three against one
    await store.requeue(claims.pop().lease, "parked")
    second = await store.claim("toy", "w", idle=False, tenant="b")
    assert second is not None
    await submit(store, "b2", "b", cost=1.0)
    await asyncio.sleep(1.0)
    assert await shared(store, [*claims, given, second]) is None  # two against two
    assert await store.claim("toy", "w", idle=False, tenant="c") is None


async def test_weights_decide_how_slots_are_shared(open_store: OpenStore) -> None:
    store = open_store(park_after_s=0.0)
    await store.tenants.set(TenantTerms(name="a", weight=3.0))
    for i in range(4):
        await submit(store, f"a{i}", "a", cost=100.0)
    claims = [await claim(store) for _ in range(4)]
    await submit(store, "b0", "b", cost=1000.0)
    assert await shared(store, claims) == Share("b", "a0")
    assert await shared(store, claims[:3]) is None  # two for three would be less than one for one


async def test_a_shorter_job_of_a_tenant_without_a_slot_goes_first(open_store: OpenStore) -> None:
    store = open_store(park_after_s=0.0)
    await submit(store, "long", "a", cost=100.0)
    long = await claim(store)
    await submit(store, "longer", "b", cost=101.0)
    assert await shared(store, [long]) is None
    await submit(store, "short", "c", cost=60.0)
    assert await shared(store, [long]) == Share("c", "long")
    await store.requeue(long.lease, "parked")
    short = await store.claim("toy", "w", idle=True, tenant="c")
    assert short is not None
    assert await shared(store, [short]) is None  # the parked one is longer
    await store.finish(short.lease, 60)
    # Used as much as what the other asks for: a stream of short jobs does not starve a long one.
    again = await store.claim("toy", "w", idle=True, tenant="a")
    assert again is not None
    await submit(store, "short2", "c", cost=60.0)
    await asyncio.sleep(1.0)
    assert await shared(store, [again]) == Share("c", "long")
    await store.requeue(again.lease, "parked")
    short = await store.claim("toy", "w", idle=True, tenant="c")
    assert short is not None
    await store.finish(short.lease, 60)
    again = await store.claim("toy", "w", idle=True, tenant="a")
    assert again is not None
    await submit(store, "short3", "c", cost=60.0)
    await asyncio.sleep(1.0)
    assert await shared(store, [again]) is None
