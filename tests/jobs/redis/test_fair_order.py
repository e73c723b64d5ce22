"""The contract of a store's order: classes, fair shares, deadlines, places in the queue."""

from jobs.schema import PUBLIC, Priority
from jobs.store import Claim, JobStore, Progress
from tests.jobs.conftest import MakeStore
from tests.jobs.examples import spec


async def submit(store: JobStore, job_id: str, tenant: str = PUBLIC, **fields: object) -> None:
    units = fields.pop("units", 10.0)
    assert isinstance(units, float)
    await store.create(job_id, spec(tenant=tenant, **fields), units)


async def claimed(store: JobStore) -> Claim:
    claim = await store.claim("toy", "w", idle=True)
    assert claim is not None
    return claim


async def order(store: JobStore, count: int) -> list[str]:
    return [(await claimed(store)).record.id for _ in range(count)]


async def test_a_greedy_tenant_does_not_hold_up_a_small_one(store: JobStore) -> None:
    for i in range(6):
        await submit(store, f"greedy{i}", "greedy")
    await submit(store, "small0", "small")
    await submit(store, "small1", "small")
    assert await order(store, 8) == [
        "greedy0", "small0", "greedy1", "small1", "greedy2", "greedy3", "greedy4", "greedy5",
    ]  # fmt: skip


async def test_tenants_get_equal_units_not_equal_jobs(store: JobStore) -> None:
    for i in range(3):
        await submit(store, f"big{i}", "big", units=30.0)
    for i in range(9):
        await submit(store, f"many{i}", "many", units=10.0)
    served = await order(store, 12)
    assert [sum(name.startswith("many") for name in served[:n]) for n in (4, 8, 12)] == [3, 6, 9]


async def test_idling_earns_nothing(store: JobStore) -> None:
    await submit(store, "b-early", "b")
    await claimed(store)
    for i in range(5):
        await submit(store, f"a{i}", "a")
    await order(store, 3)
    for i in range(4):
        await submit(store, f"b{i}", "b")
    # b comes back to where a stands; it does not get the three turns it was away for
    assert await order(store, 4) == ["b0", "a3", "b1", "a4"]


async def test_a_tenants_own_jobs_go_by_deadline_then_age(store: JobStore) -> None:
    await submit(store, "none0")
    await submit(store, "late", deadline_s=7000.0)
    await submit(store, "soon", deadline_s=60.0)
    await submit(store, "sooner", deadline_s=30.0)
    await submit(store, "none1")
    assert await order(store, 5) == ["sooner", "soon", "none0", "none1", "late"]


async def test_an_interrupted_job_goes_first_and_costs_its_tenant_nothing(store: JobStore) -> None:
    for i in range(3):
        await submit(store, f"a{i}", "a", units=100.0)
        await submit(store, f"b{i}", "b", units=100.0)
    first = await claimed(store)
    await store.progress([Progress(first.lease, 2, 20.0, 2)])
    await store.requeue(first.lease, "drain")
    assert first.record.id == "a0"
    # a has used 20 units, so b is next; then a's interrupted job, and both stand at 100
    assert await order(store, 5) == ["b0", "a0", "a1", "b1", "a2"]


async def test_a_class_passed_by_gets_its_share(make_store: MakeStore) -> None:
    store = make_store(class_share=0.25)
    for i in range(20):
        await submit(store, f"high{i}", priority=Priority.HIGH)
    await submit(store, "low", priority=Priority.LOW)
    served = await order(store, 5)
    # owed a quarter of what went before: its own ten units after forty of the class above
    assert served == ["high0", "high1", "high2", "high3", "low"]
    assert await order(store, 2) == ["high4", "high5"]


async def test_every_class_below_gets_its_share_under_constant_load(make_store: MakeStore) -> None:
    store = make_store(class_share=0.1)
    for name, priority in (("high", "high"), ("norm", "normal"), ("low", "low")):
        for i in range(60):
            await submit(store, f"{name}{i}", priority=priority)
    served = await order(store, 60)
    shares = {
        name: sum(each.startswith(name) for each in served) for name in ("high", "norm", "low")
    }
    assert shares == {"high": 50, "norm": 5, "low": 5}


async def test_a_job_served_for_its_share_takes_the_rank_of_those_it_passed(
    make_store: MakeStore,
) -> None:
    store = make_store(class_share=0.3)
    for i in range(5):
        await submit(store, f"high{i}", priority=Priority.HIGH)
    await submit(store, "low", priority=Priority.LOW)
    claims = [await claimed(store) for _ in range(6)]
    ranks = {claim.record.id: claim.rank for claim in claims}
    assert list(ranks) == ["high0", "high1", "high2", "high3", "low", "high4"]
    assert ranks["low"] == 0
    await submit(store, "low2", priority=Priority.LOW)
    assert (await claimed(store)).rank == 2


async def test_positions_are_those_of_the_claims_that_follow(store: JobStore) -> None:
    for i in range(4):
        await submit(store, f"b{i}", "b")
    for i in range(4):
        await submit(store, f"a{i}", "a")
    await submit(store, "c0", "c", priority=Priority.HIGH, units=7.0)
    names = [f"{tenant}{i}" for tenant in "ab" for i in range(4)] + ["c0"]
    places = {}
    for name in names:
        place = await store.queue_position(await store.get(name))
        assert place is not None
        places[name] = place
    served = await order(store, len(names))
    assert [places[name].position for name in served] == list(range(1, 10))
    assert [places[name].units_ahead for name in served] == [0.0] + [7.0 + 10 * i for i in range(8)]


async def test_cancelled_and_deleted_jobs_leave_the_line(store: JobStore) -> None:
    for i in range(4):
        await submit(store, f"j{i}")
    await store.cancel("j0")
    await store.delete("j2")
    place = await store.queue_position(await store.get("j3"))
    assert place is not None
    assert (place.position, place.units_ahead) == (2, 10.0)
    assert await order(store, 2) == ["j1", "j3"]
    assert await store.claim("toy", "w", idle=True) is None


async def test_a_full_worker_is_told_of_a_higher_class_that_waits(make_store: MakeStore) -> None:
    store = make_store(park_after_s=0.0)
    await submit(store, "running", priority=Priority.NORMAL)
    lease = (await claimed(store)).lease
    await submit(store, "low", priority=Priority.LOW)
    assert (await store.renew([lease], preemptible=1)).higher_waiting is None
    await submit(store, "high", priority=Priority.HIGH)
    assert (await store.renew([lease])).higher_waiting is None  # it is not full
    assert (await store.renew([lease], preemptible=0)).higher_waiting is None
    assert (await store.renew([lease], preemptible=1)).higher_waiting == 0


async def test_no_more_workers_are_told_than_jobs_wait(make_store: MakeStore) -> None:
    store = make_store(park_after_s=0.0)
    for i in range(5):
        await submit(store, f"running{i}", priority=Priority.LOW)
    leases = [(await claimed(store)).lease for _ in range(5)]
    for i in range(2):
        await submit(store, f"waits{i}")
    told = [(await store.renew([lease], preemptible=2)).higher_waiting for lease in leases]
    assert told == [1, 1, None, None, None]


async def test_nobody_is_told_of_a_job_that_has_just_come(make_store: MakeStore) -> None:
    store = make_store(park_after_s=60.0)
    await submit(store, "running", priority=Priority.LOW)
    lease = (await claimed(store)).lease
    await submit(store, "high", priority=Priority.HIGH)
    assert (await store.renew([lease], preemptible=2)).higher_waiting is None


async def test_a_suspect_is_passed_by_where_the_worker_is_busy(make_store: MakeStore) -> None:
    store = make_store(suspect_deaths=1, max_deaths=9, lease_s=0.1)
    await submit(store, "suspect", "a")
    await claimed(store)
    while not (await store.sweep()).requeued:
        pass
    await submit(store, "a1", "a")
    await submit(store, "b1", "b")
    busy = [await store.claim("toy", "w", idle=False) for _ in range(3)]
    assert sorted(claim.record.id for claim in busy if claim) == ["a1", "b1"]
    assert (await claimed(store)).record.id == "suspect"
