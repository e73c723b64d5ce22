"""The slots, passes and changes that watchers see, and that nobody else pays for them."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from jobs.errors import StoreUnavailable
from jobs.fleet import Batch
from jobs.redis.store import RedisStore
from tests.faults.client import until
from tests.jobs.examples import spec
from workers.engine.messages import Admitted, Advanced, ImageProgress
from workers.ops import batch as live
from workers.ops.batch import MOST_CHANGES, LiveBatch

Progress = dict[int, ImageProgress]


@pytest.fixture
def batch() -> LiveBatch:
    return LiveBatch("w", "toy", 4, lambda: 8)


def admit(batch: LiveBatch, job: str, image: int = 0, row: int = 0) -> Progress:
    progress: Progress = {}
    batch.admitted(Admitted(job, image, row, step=row), spec(), 2, progress)
    return progress


def moved(job: str, row: int) -> ImageProgress:
    return ImageProgress(job, 0, row, 10, row, row)


def slots(batch: LiveBatch) -> dict[str, int]:
    return {f"{each.job}/{each.image}": each.slot for each in batch.snapshot().images}


def changes(batch: LiveBatch) -> list[tuple[int, str, str, int]]:
    return [(each.sequence, each.kind, each.job, each.slot) for each in batch.snapshot().changes]


def test_an_image_keeps_its_slot_and_the_next_gets_the_lowest_that_is_free(
    batch: LiveBatch,
) -> None:
    for job in ("a", "b", "c"):
        admit(batch, job)
    batch.left("finished", "b", 0)
    batch.left("failed", "a", 0)
    batch.left("failed", "a", 0)  # it has left already
    for job in ("d", "e", "f"):
        admit(batch, job)
    assert slots(batch) == {"d/0": 0, "e/0": 1, "c/0": 2, "f/0": 3}


def test_changes_are_numbered_and_counted(batch: LiveBatch) -> None:
    admit(batch, "a")
    admit(batch, "b", 0, row=3)
    admit(batch, "b", 1)
    batch.released("preempted", "b")
    batch.left("finished", "a", 0)
    assert changes(batch) == [
        (1, "admitted", "a", 0),
        (2, "resumed", "b", 1),
        (3, "admitted", "b", 2),
        (4, "preempted", "b", 1),
        (5, "preempted", "b", 2),
        (6, "finished", "a", 0),
    ]
    shown = batch.snapshot()
    assert shown.sequence == 6
    assert shown.totals == {
        "admitted": 2, "resumed": 1, "preempted": 2, "released": 0, "finished": 1, "failed": 0,
    }  # fmt: skip


def test_changes_that_are_kept_are_bounded_and_the_totals_are_not(batch: LiveBatch) -> None:
    for number in range(MOST_CHANGES):
        admit(batch, f"{number}")
        batch.left("finished", f"{number}", 0)
    shown = batch.snapshot()
    assert len(shown.changes) == MOST_CHANGES
    assert (shown.changes[-1].sequence, shown.totals["finished"]) == (2 * MOST_CHANGES, 256)


def test_who_takes_part_in_the_last_pass_and_how_far_all_are(batch: LiveBatch) -> None:
    first, second = admit(batch, "a"), admit(batch, "b", row=4)
    batch.advanced(Advanced(6, (moved("b", 5),), 2, 0.5))
    first[0] = moved("a", 1)
    batch.advanced(Advanced(7, (first[0],), 2, 0.25))
    shown = batch.snapshot()
    assert [(i.job, i.step, i.in_pass) for i in shown.images] == [("a", 1, True), ("b", 4, False)]
    assert (shown.tick, shown.rows, shown.tick_s, shown.rows_per_tick) == (8, 2, 0.25, 8)
    second[0] = moved("b", 5)
    batch.advanced(Advanced(7, (second[0],), 2, 0.25))  # after an error, one by one
    shown = batch.snapshot()
    assert [(i.step, i.in_pass) for i in shown.images] == [(1, True), (5, True)]
    assert (shown.rows, shown.tick_s) == (4, 0.5)
    batch.left("finished", "a", 0)
    batch.left("finished", "b", 0)
    shown = batch.snapshot()
    assert (shown.tick, shown.rows, shown.tick_s, shown.images) == (8, 0, 0.0, ())


@pytest.fixture
async def publishing(
    batch: LiveBatch, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LiveBatch]:
    monkeypatch.setattr(live, "PUBLISH_S", 0.02)
    monkeypatch.setattr("jobs.redis.fleet.BATCH_TTL_S", 600)
    task = asyncio.create_task(batch.publish(store))
    yield batch
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_it_is_published_while_it_is_watched(
    publishing: LiveBatch, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[Batch] = []
    publish = store.publish_batch

    async def noting(batch: Batch) -> None:
        begun.append(batch)
        await publish(batch)

    monkeypatch.setattr(store, "publish_batch", noting)

    async def later_than(at: float) -> Batch | None:
        found = await store.watch_batch("w")
        return found if found is not None and found.at > at else None

    await asyncio.sleep(0.1)
    assert await store.watch_batch("w") is None
    admit(publishing, "a")
    publishing.watch(wanted=True)
    first = await until("a snapshot", lambda: later_than(0.0))
    assert [each.job for each in first.images] == ["a"]
    second = await until("another one", lambda: later_than(first.at))
    publishing.watch(wanted=False)
    last = begun[-1]
    await asyncio.sleep(0.1)
    assert begun[-1] is last
    assert second.at <= last.at


async def test_an_outage_ends_it_until_an_announcement_says_that_it_is_watched(
    publishing: LiveBatch, store: RedisStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Batch] = []

    async def away(batch: Batch) -> None:
        asked.append(batch)
        raise StoreUnavailable("away")

    with monkeypatch.context() as patch:
        patch.setattr(store, "publish_batch", away)
        publishing.watch(wanted=True)
        await asyncio.sleep(0.1)
    assert len(asked) == 1
    publishing.watch(wanted=True)
    await until("a snapshot", lambda: store.watch_batch("w"))
