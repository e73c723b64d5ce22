"""Images that a job's worker offers: who has them, and what becomes of them whoever goes."""

import pytest

from jobs.errors import StaleFence
from jobs.redis.store import RedisStore
from jobs.schema import JobError, JobStatus
from jobs.store import Claim, Retaken
from tests.jobs.conftest import OpenStore, RunOut
from tests.jobs.examples import checkpoint, claim, picture, submit, worker

IMAGES = 6


async def offered(store: RedisStore, images: list[int], share: int = 2) -> Claim:
    await submit(store, "a", num_images=IMAGES)
    held = await claim(store, "owner")
    await store.offer(held.lease, images, share)
    return held


async def helper(store: RedisStore, name: str = "helper", most: int = 9) -> Claim:
    found = await store.help("toy", name, most=most, busy=())
    assert found is not None
    return found


def images_of(helping: Claim) -> list[int]:
    return [i for i in range(IMAGES) if i not in helping.finished]


async def test_a_claim_knows_how_many_could_help(store: RedisStore) -> None:
    for name in ("w", "idle"):
        await store.announce_worker(worker(1.0, name))
    await submit(store, "one")
    await submit(store, "many", num_images=2)
    assert (await claim(store)).idle_workers == 0
    assert (await claim(store)).idle_workers == 1


async def test_helpers_share_what_is_offered_and_the_rest_comes_back(store: RedisStore) -> None:
    held = await offered(store, [2, 3, 4, 5])
    first = await helper(store)
    assert (images_of(first), first.helps) == ([2, 3], True)
    assert images_of(await helper(store, "other", most=1)) == [4]
    assert await store.help("toy", "owner", most=9, busy=()) is None
    assert await store.help("toy", "busy", most=9, busy=["a"]) is None
    assert await store.help("another", "w", most=9, busy=()) is None
    assert await store.retake(held.lease) == Retaken(frozenset({2, 3, 4}), frozenset())
    assert await store.help("toy", "late", most=9, busy=()) is None


async def test_a_helper_stores_images_and_the_job_ends_by_its_worker(store: RedisStore) -> None:
    held = await offered(store, [4, 5])
    helping = await helper(store)
    assert (await store.renew([helping.lease])).lost == frozenset()
    for index in (4, 5):
        await store.add_image(helping.lease, picture(index))
    assert (await store.finish(helping.lease, 8)).status is JobStatus.RUNNING
    assert (await store.renew([helping.lease])).lost == {"a"}
    for _ in range(2):  # its answer may be lost
        assert await store.retake(held.lease) == Retaken(frozenset(), frozenset({4, 5}))
    for index in range(4):
        await store.add_image(held.lease, picture(index))
    record = await store.finish(held.lease, 40)
    assert (record.status, len(record.images), record.evaluations) == (
        JobStatus.SUCCEEDED, IMAGES, 48,
    )  # fmt: skip


@pytest.mark.parametrize("how", ["requeue", "fail"])
async def test_what_a_helper_gives_back_goes_on_from_its_state(store: RedisStore, how: str) -> None:
    held = await offered(store, [4, 5])
    helping = await helper(store)
    await store.add_image(helping.lease, picture(4))
    await store.checkpoint(helping.lease, [checkpoint(3, 5)])
    if how == "requeue":
        await store.requeue(helping.lease, "drain")
    else:
        await store.fail(helping.lease, JobError(code="internal", detail="a broken device"))
    assert (await store.get("a")).status is JobStatus.RUNNING
    assert await store.retake(held.lease) == Retaken(frozenset(), frozenset({4}))
    assert [(each.image, each.row) for each in await store.checkpoints("a")] == [(5, 3)]


async def test_what_a_dead_helper_had_comes_back(open_store: OpenStore, run_out: RunOut) -> None:
    store = open_store(lease_s=600.0)
    held = await offered(store, [4, 5])
    helping = await helper(store)
    run_out("helpers")
    assert (await store.sweep()).requeued == ()
    assert (await store.renew([held.lease])).lost == frozenset()
    assert (await store.renew([helping.lease])).lost == {"a"}
    assert await store.retake(held.lease) == Retaken(frozenset(), frozenset())
    assert (await store.get("a")).deaths == 0


@pytest.mark.parametrize("how", ["cancel", "requeue", "delete"])
async def test_help_ends_with_the_job_s_claim(store: RedisStore, how: str) -> None:
    held = await offered(store, [2, 3, 4, 5])
    helping = await helper(store)
    if how == "requeue":
        await store.requeue(held.lease, "drain")
    else:
        await (store.cancel if how == "cancel" else store.delete)("a")
    with pytest.raises(StaleFence):
        await store.add_image(helping.lease, picture(2))
    with pytest.raises(StaleFence):
        await store.retake(held.lease)
    assert await store.help("toy", "late", most=9, busy=()) is None
    assert (await store.renew([helping.lease])).lost == {"a"}
    assert (await store.sweep()).lost == 0
