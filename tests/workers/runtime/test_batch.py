"""A watched worker publishes what its engine does; one that nobody watches does not."""

from collections.abc import Callable
from typing import Any

import pytest

from jobs.fleet import Batch
from jobs.schema import Priority
from tests.faults.client import until
from tests.workers.inside import Inside

LONG = {"sampler": "euler_ancestral", "num_inference_steps": 1000, "guidance_scale": 3.0}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Announce and publish often; what was published is there for long."""
    monkeypatch.setattr("jobs.redis.fleet.BATCH_TTL_S", 600)
    monkeypatch.setattr("workers.host.ANNOUNCE_S", 0.05)
    monkeypatch.setattr("workers.ops.batch.PUBLISH_S", 0.05)


async def watched(inside: Inside, wanted: Callable[[Batch], bool]) -> Batch:
    """Return a worker's batch once it is as wanted."""
    (worker,) = await until("the worker", inside.store.workers)

    async def look() -> Batch | None:
        found = await inside.store.watch_batch(worker.id)
        return found if found is not None and wanted(found) else None

    return await until("the batch", look)


one_slot = pytest.mark.parametrize(
    "inside",
    [{"slots": 1, "rows_per_tick": 2, "park_after_s": 0.02, "renew_s": 0.05}],
    indirect=True,
)


@one_slot
async def test_the_batch_shows_who_is_drawn_and_who_was_preempted(
    quick: None, inside: Inside, redis: Any, prefix: str
) -> None:
    with inside.held("low"):
        await inside.submit("low", priority=Priority.LOW, width=32, **LONG)
        await inside.moving("low")
        assert not redis.keys(f"{prefix}:batch:*")  # nobody watches
        shown = await watched(inside, lambda batch: batch.rows > 0)
        (image,) = shown.images
        assert (image.slot, image.job, image.image, image.rows) == (0, "low", 0, 2)
        assert (image.steps, image.width, image.sampler) == (1000, 32, "euler_ancestral")
        assert image.in_pass
        assert 0 < image.step <= 1000
        assert (shown.slots, shown.rows, shown.rows_per_tick) == (1, 2, 2)
        assert 0 < shown.tick_s < 60
        await inside.submit("high", priority=Priority.HIGH, num_inference_steps=2)
        shown = await watched(inside, lambda batch: batch.totals["resumed"] > 0)
        assert shown.images[0].step >= 3
        await inside.store.cancel("low")
        shown = await watched(inside, lambda batch: batch.totals["released"] > 0)
    assert [(each.kind, each.job) for each in shown.changes] == [
        ("admitted", "low"),
        ("preempted", "low"),
        ("admitted", "high"),
        ("finished", "high"),
        ("resumed", "low"),
        ("released", "low"),
    ]
    assert [each.sequence for each in shown.changes] == [1, 2, 3, 4, 5, 6]
    assert (shown.images, shown.rows) == ((), 0)
