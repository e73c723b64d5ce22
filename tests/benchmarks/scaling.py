"""Workers under Ray through a whole day in two minutes: none, one, three, one killed, one, none."""

import asyncio
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from jobs.cancelling import end
from jobs.schema import JobRecord
from jobs.settings import JobsSettings
from tests.benchmarks.own_redis import own_redis
from tests.bundles import tiny_bundle
from tests.faults.client import Client, until
from tests.stack.scaled import (
    Watch,
    actor_of,
    all_succeeded,
    give_load,
    scaled_up,
    signal_of,
)
from tests.stack.up import Up

TARGET_S = 4.0
LOAD_S = 30.0  # of one worker; more comes whenever half of it is done
JOBS = 16


@dataclass
class Day:
    """A client, what it watches, and the seconds of every change so far."""

    client: Client
    watch: Watch
    figures: dict[str, Any] = field(default_factory=dict)

    def note(self, name: str, value: Any) -> None:
        """Keep a figure and show it."""
        self.figures[name] = round(value, 2) if isinstance(value, float) else value
        print(f"  {name}: {self.figures[name]}", flush=True)


def measure() -> dict[str, Any]:
    """Return how long each change of the number of workers took, and the fate of the jobs.

    Raises:
        AssertionError: a job was lost or failed, or a change did not come.
    """
    return asyncio.run(_day())


async def _day() -> dict[str, Any]:
    with own_redis() as (url, folder):
        settings = JobsSettings(redis_url=url)
        client = Client(settings)
        stack = scaled_up(
            folder / "data", tiny_bundle(folder / "tiny"), 3, settings,
            ray_target_s=TARGET_S, ray_upscale_delay_s=0.5, ray_downscale_delay_s=1, ray_idle_s=3,
        )  # fmt: skip
        day = Day(client, Watch(client))
        try:
            await _morning(day, stack)
            await _noon(day)
            began = monotonic()
            assert await asyncio.to_thread(stack.stop) == 0
            day.note("stack_stops_s", monotonic() - began)
            assert stack.gone(0) == {}
        except BaseException:
            print(stack.story())
            raise
        finally:
            await day.watch.close()
            await client.close()
            stack.end()
        return day.figures


async def _morning(day: Day, stack: Up) -> None:
    """A new model gets a worker that announces it and leaves; the first job brings one back."""
    began = monotonic()
    await asyncio.to_thread(stack.ready)
    day.note("start_to_a_new_model_announced_s", monotonic() - began)
    await day.watch.reach(1)
    day.note("idle_to_0_workers_s", await day.watch.reach(0))
    found = await signal_of(day.client)
    day.note("units_per_s", found.units_per_s)
    day.note("cold_start_of_the_process_s", found.cold_start_s)
    asked = monotonic()
    await day.client.submit("first", num_inference_steps=20)
    day.note("0_to_1_worker_s", await day.watch.reach(1))
    await all_succeeded(day.client, ["first"])
    day.note("first_picture_from_zero_s", monotonic() - asked)


async def _noon(day: Day) -> None:
    """Load comes, an actor is killed with -9 in the midst of it, the load goes."""
    given: list[str] = []
    coming = asyncio.create_task(_arrivals(day.client, given))
    day.note("1_to_3_workers_s", await day.watch.reach(3))
    killed_at = monotonic()
    held = await _kill_one(day.client)
    day.note("killed_actor_jobs", len(held))
    day.note("killed_actor_jobs_given_back_s", monotonic() - killed_at)
    await day.watch.reach(2)
    await day.watch.reach(3)
    day.note("killed_actor_replaced_s", monotonic() - killed_at)
    await end(coming)
    day.note("3_to_1_worker_s", await day.watch.reach(1))
    records = await all_succeeded(day.client, given)
    day.note("1_to_0_workers_s", await day.watch.reach(0))
    totals = await day.client.store.totals()
    assert totals.ended["succeeded"] == totals.created, totals  # none was lost
    day.note("jobs", totals.created)
    day.note("jobs_ended_on_another_worker", sum(record.attempts > 1 for record in records))
    day.note("process_deaths_counted", sum(record.deaths for record in records))
    day.note("rows_repeated", rows_repeated(records))
    day.note("workers_over_time", day.watch.seen)


async def _arrivals(client: Client, given: list[str]) -> None:
    """Let jobs come for as long as it runs, and keep their ids."""
    while True:
        if (await signal_of(client)).backlog_s < LOAD_S / 2:
            given += await give_load(client, f"job{len(given)}-", LOAD_S, JOBS)
        await asyncio.sleep(0.2)


async def _kill_one(client: Client) -> Sequence[str]:
    """Kill a busy worker's actor with -9; return its jobs once it has given them back."""
    worker = max(await client.store.workers(), key=lambda worker: worker.jobs)
    running = [
        record.id
        for record in (await client.store.list(limit=100)).records
        if record.worker == worker.id and not record.status.ended
    ]
    os.kill(actor_of(worker), signal.SIGKILL)

    async def elsewhere() -> bool:
        records = [await client.store.get(name) for name in running]
        return all(r.worker != worker.id or r.status != "running" for r in records)

    await until("the jobs are given back", elsewhere)
    return running


def rows_repeated(records: Sequence[JobRecord]) -> int:
    """Return the UNet rows that were evaluated beyond those that the jobs are made of."""
    return sum(record.evaluations - round(record.units) for record in records)
