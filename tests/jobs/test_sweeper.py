"""The sweep as workers and doors run it."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from jobs.cancelling import end
from jobs.queue import Doorbell
from jobs.redis.store import RedisStore
from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from jobs.store import Swept
from jobs.sweeper import SURPLUS, Sweeper
from tests.conftest import Opened
from tests.jobs.examples import MODEL, claim, submit


@pytest.mark.parametrize("catalogue", ["sound", "broken"])
async def test_a_lone_sweeper_reaps_a_dead_worker_s_job(
    jobs_settings: JobsSettings, redis: Any, prefix: str, opened: Opened[Any], catalogue: str
) -> None:
    if catalogue == "broken":
        redis.hset(f"{prefix}:models", "broken", "{")
    # One sweep a second took every gap for an outage of the store and prolonged such leases.
    settings = jobs_settings.model_copy(update={"lease_s": 1.8})
    store, doorbell = opened(RedisStore(settings)), opened(Doorbell(settings))
    await submit(store, "a")
    await claim(store)
    sweeping = asyncio.create_task(Sweeper(store, doorbell).run(settings.beat_s))
    async with asyncio.timeout(120):
        while (await store.get("a")).status is JobStatus.RUNNING:
            await asyncio.sleep(0.02)
    await end(sweeping)
    assert (await store.get("a")).deaths == 1


class Watched(RedisStore):
    """A store that counts its sweeps; the right to them lasts longer than a test may stall."""

    sweeps = 0
    longest_hold_s = 0.0

    async def take_sweep(self, holder: str, hold_s: float) -> bool:
        """Note for how long the right is asked for, and give it for an hour."""
        self.longest_hold_s = max(self.longest_hold_s, hold_s)
        return await super().take_sweep(holder, 3600.0)

    async def sweep(self) -> Swept:
        """Count and sweep."""
        self.sweeps += 1
        return await super().sweep()


async def until(reached: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not reached():
            await asyncio.sleep(0.01)


async def test_one_of_many_sweeps_and_another_when_it_dies(
    jobs_settings: JobsSettings, opened: Opened[Any], redis: Any, prefix: str
) -> None:
    doorbell = opened(Doorbell(jobs_settings))
    stores = [opened(Watched(jobs_settings)) for _ in range(4)]
    sweeping = [asyncio.create_task(Sweeper(store, doorbell).run(0.2)) for store in stores]
    await until(lambda: sum(store.sweeps for store in stores) >= 4)
    (holder,) = [place for place, store in enumerate(stores) if store.sweeps]
    await end(sweeping[holder])
    assert max(store.longest_hold_s for store in stores) < 2 * 0.2  # then another one goes on
    redis.pexpire(f"{prefix}:sweeper", 1)
    others = [store for store in stores if store is not stores[holder]]
    await until(lambda: sum(store.sweeps for store in others) >= 4)
    assert sum(store.sweeps > 0 for store in others) == 1
    await end(*sweeping)


async def test_a_sweeper_that_stalls_is_replaced_and_comes_back_as_one_of_many(
    store: RedisStore,
) -> None:
    assert await store.take_sweep("a", 600.0)
    assert await store.take_sweep("a", 600.0)
    assert not await store.take_sweep("b", 600.0)
    assert await store.take_sweep("a", 0.1)
    await asyncio.sleep(0.15)
    assert await store.take_sweep("b", 600.0)
    assert not await store.take_sweep("a", 0.1)


async def test_a_clock_that_is_set_back_prolongs_no_right_to_sweep(
    store: RedisStore, redis: Any, prefix: str
) -> None:
    assert await store.take_sweep("a", 600.0)
    redis.pexpire(f"{prefix}:sweeper", 4_200_000)  # what an hour back makes of ten minutes
    assert await store.take_sweep("b", 600.0)


async def test_rings_of_cancelled_jobs_do_not_pile_up(
    jobs_settings: JobsSettings, opened: Opened[Any]
) -> None:
    store, doorbell = opened(RedisStore(jobs_settings)), opened(Doorbell(jobs_settings))
    await store.announce_model(MODEL)
    for number in range(SURPLUS + 30):
        await submit(store, f"job{number}")
        await doorbell.ring("toy", f"job{number}")
        if number >= 20:
            await store.cancel(f"job{number}")
    sweeper = Sweeper(store, doorbell)
    await sweeper.once()
    assert await doorbell.waiting("toy") == SURPLUS + 30  # a claim may be on its way
    for _ in range(3):
        await sweeper.once()
        assert await doorbell.waiting("toy") == SURPLUS + 20
