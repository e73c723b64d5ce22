"""The outbox: nothing that ended is lost, and one door at a time delivers it."""

import asyncio
from dataclasses import replace
from time import monotonic, time

from jobs.outbox import Delivery, DeliveryTerms, OutboxCounts
from jobs.redis.store import RedisStore
from jobs.schema import JobError
from jobs.webhook import Webhook, WebhookRecord, WebhookState
from tests.jobs.conftest import OpenStore, RunOut
from tests.jobs.examples import claim, picture, submit
from tests.jobs.redis.long_outbox import multiply

TERMS = DeliveryTerms(60.0, 5, limit_of_tenant=100, limit_of_receiver=100, limit_of_probes=9)
URL = "https://shop.example/hook"


async def end(store: RedisStore, *job_ids: str, tenant: str = "public", url: str = URL) -> None:
    """Leave deliveries to make, in this order."""
    for job_id in job_ids:
        await submit(store, job_id, tenant, webhook=Webhook(url=url))
        await store.cancel(job_id)


async def taken(
    store: RedisStore, limit: int = 100, terms: DeliveryTerms = TERMS, **busy: int
) -> list[Delivery]:
    under_way = [
        Delivery("", tenant, 1, "other.example:443", "")
        for tenant, count in busy.items()
        for _ in range(count)
    ]
    return list(await store.outbox.take(limit, terms, under_way, {}))


async def taken_after(store: RedisStore, began: float, pause_s: float) -> Delivery:
    """Return the one delivery there is, which must not come before the pause is over."""
    async with asyncio.timeout(60):
        while not (found := await taken(store)):
            await asyncio.sleep(0.005)
    assert monotonic() - began >= pause_s
    (delivery,) = found
    return delivery


async def webhook_of(store: RedisStore, job_id: str) -> WebhookRecord:
    webhook = (await store.get(job_id)).webhook
    assert webhook is not None
    return webhook


async def test_every_way_of_ending_is_posted(open_store: OpenStore, run_out: RunOut) -> None:
    store, webhook = open_store(max_deaths=1), Webhook(url=URL)
    for name in ("succeeded", "failed", "died"):
        await submit(store, name, webhook=webhook)
        lease = (await claim(store)).lease
        if name == "succeeded":
            await store.add_image(lease, picture())
            await store.finish(lease, 1)
        elif name == "failed":
            await store.fail(lease, JobError(code="internal", detail="x"))
    await end(store, "canceled")
    await submit(store, "expired", webhook=webhook, deadline_s=0.01)
    await submit(store, "silent")
    await store.cancel("silent")
    await submit(store, "open", webhook=webhook)
    assert (await webhook_of(store, "open")).state is WebhookState.WAITING
    ends = {"succeeded", "failed", "died", "canceled", "expired"}
    run_out()
    await asyncio.sleep(0.05)  # until the deadline is over
    await store.sweep()
    assert (await store.outbox.counts()).pending == len(ends)
    assert {delivery.job_id for delivery in await taken(store)} == ends
    assert (await webhook_of(store, "died")).state is WebhookState.PENDING


async def test_an_end_that_was_not_asked_for_is_not_posted(store: RedisStore) -> None:
    webhook = Webhook(url=URL, events=("job.succeeded", "job.failed"))
    await submit(store, "a", webhook=webhook)
    await store.cancel("a")
    assert await taken(store) == []
    assert (await webhook_of(store, "a")).state is WebhookState.UNWANTED


async def test_a_door_that_dies_leaves_the_delivery_to_another(store: RedisStore) -> None:
    await end(store, "a")
    short = replace(TERMS, lease_s=0.05, max_attempts=3)
    began = monotonic()
    (first,) = await taken(store, terms=short)
    second = await taken_after(store, began, short.lease_s)
    assert (first.attempt, second.attempt) == (1, 2)
    assert not await store.outbox.settle(first, "delivered")  # it woke up too late
    assert (await webhook_of(store, "a")).state is WebhookState.PENDING
    assert await store.outbox.settle(second, "delivered")
    record = await webhook_of(store, "a")
    assert (record.state, record.attempts, record.error) == (WebhookState.DELIVERED, 2, None)
    assert record.delivered_at is not None
    assert await store.outbox.counts() == OutboxCounts(0, 0)


async def test_doors_that_keep_dying_end_a_delivery(store: RedisStore) -> None:
    await end(store, "a")
    brief = replace(TERMS, lease_s=0.0, max_attempts=3)
    for _ in range(3):
        assert len(await taken(store, terms=brief)) == 1
        await asyncio.sleep(0.002)
    assert await taken(store, terms=brief) == []
    assert (await webhook_of(store, "a")).state is WebhookState.FAILED
    assert await store.outbox.counts() == OutboxCounts(0, 1)


async def test_a_failed_attempt_is_due_again_and_says_why(store: RedisStore) -> None:
    await end(store, "a")
    (delivery,) = await taken(store)
    began = monotonic()
    assert await store.outbox.settle(delivery, "retried", note="HTTP 503", delay_s=0.1)
    record = await webhook_of(store, "a")
    assert (record.state, record.error) == (WebhookState.PENDING, "HTTP 503")
    assert record.due_at is not None
    again = await taken_after(store, began, 0.1)
    assert again.attempt == 2
    assert await store.outbox.settle(again, "failed", note="HTTP 410")
    record = await webhook_of(store, "a")
    assert (record.state, record.error, record.due_at) == (WebhookState.FAILED, "HTTP 410", None)
    assert await store.outbox.counts() == OutboxCounts(0, 1)


async def test_a_line_of_thousands_is_no_other_tenants_wait(store: RedisStore) -> None:
    await end(store, "a", tenant="a")
    await multiply(store, "a", 5000)
    await end(store, "b", tenant="b")
    terms = replace(TERMS, limit_of_tenant=4)
    assert [delivery.job_id for delivery in await taken(store, 8, terms, a=4)] == ["b"]
    assert {delivery.tenant for delivery in await taken(store, 8, terms, b=1)} == {"a"}


async def test_a_place_goes_to_the_tenant_with_the_fewest_under_way(store: RedisStore) -> None:
    for name in ("a1", "a2", "a3", "b1", "b2", "c1"):
        await end(store, name, tenant=name[0])
    assert [d.job_id for d in await taken(store, 2, a=2)] == ["b1", "c1"]
    assert [d.job_id for d in await taken(store, 2, a=2, b=1, c=1)] == ["b2", "a1"]
    assert [d.job_id for d in await taken(store, a=3)] == ["a2", "a3"]


async def test_tenants_with_long_lines_are_served_in_turn(store: RedisStore) -> None:
    for number in range(4):
        for tenant in ("a", "b", "c"):
            await end(store, f"{tenant}{number}", tenant=tenant)
    await end(store, "late", tenant="late")
    found = [(await taken(store, 1))[0].job_id for _ in range(7)]  # one place, free again each time
    assert found == ["a0", "b0", "c0", "late", "a1", "b1", "c1"]


async def test_calls_at_a_receiver_are_bounded_over_all_tenants(store: RedisStore) -> None:
    for tenant in "abc":
        await end(store, f"{tenant}0", f"{tenant}1", tenant=tenant)
    await end(store, "elsewhere", tenant="a", url="http://other.example/hook")
    terms = replace(TERMS, limit_of_receiver=3)
    first = await taken(store, terms=terms)
    assert [d.job_id for d in first] == ["a0", "b0", "c0", "elsewhere"]
    assert [d.receiver for d in first] == ["shop.example:443"] * 3 + ["other.example:80"]
    assert await store.outbox.take(9, terms, first, {}) == ()
    assert [d.job_id for d in await store.outbox.take(9, terms, first[1:], {})] == ["a1"]


async def test_a_resting_receiver_is_no_other_deliverys_wait(store: RedisStore) -> None:
    await end(store, "dead", tenant="a")
    await multiply(store, "dead", 500)
    await end(store, "alive", tenant="a", url="https://other.example/hook")
    await end(store, "b", tenant="b")
    resting, began = {("a", "shop.example:443"): 60.0}, time()
    found = [d for _ in range(2) for d in await store.outbox.take(9, TERMS, (), resting)]
    assert sorted(d.job_id for d in found) == ["alive", "b"]
    record = await webhook_of(store, "dead")
    assert (record.state, record.attempts) == (WebhookState.PENDING, 0)
    assert record.due_at is not None
    assert began - 0.1 <= record.due_at - 60 <= time() + 0.1


async def test_one_delivery_probes_a_receiver_that_has_rested(store: RedisStore) -> None:
    await end(store, "a0", "a1", "a2")
    (probe,) = await store.outbox.take(9, TERMS, (), {("public", "shop.example:443"): 0.0})
    assert (probe.job_id, probe.attempt) == ("a0", 1)
    assert await taken(store) == []  # the others are put off until its outcome is known


async def test_probes_are_bounded_over_all_tenants(store: RedisStore) -> None:
    for name in "abcde":
        await end(store, name, tenant=name)
    resting = {(name, "shop.example:443"): 0.0 for name in "abcd"}
    terms = replace(TERMS, limit_of_probes=2)
    under_way = [Delivery("", "a", 1, "shop.example:443", "")]
    found = await store.outbox.take(9, terms, under_way, resting)
    assert [delivery.job_id for delivery in found] == ["b", "e"]


async def test_a_deleted_job_is_not_delivered(store: RedisStore) -> None:
    await end(store, "a", "b")
    (first, _) = await taken(store)
    await store.outbox.settle(first, "failed", note="x")
    for name in ("a", "b"):
        await store.delete(name)
    assert await store.outbox.counts() == OutboxCounts(0, 0)
    assert not await store.outbox.settle(first, "delivered")
