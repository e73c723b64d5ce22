"""Which waiting image gets a free slot: one of a job here, or of one that is claimed for it."""

import asyncio
from typing import Any

import pytest
from redis import Redis

from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from tests.service.doors import open_door, submit
from tests.workers.inside import Inside
from workers.engine.messages import Finished, Report

NEVER = 1e6
two_slots = pytest.mark.parametrize("inside", [{"park_after_s": NEVER}], indirect=True)
one_slot = pytest.mark.parametrize(
    "inside", [{"slots": 1, "rows_per_tick": 2, "park_after_s": NEVER}], indirect=True
)


async def ends(inside: Inside, *names: str) -> list[float]:
    """Return when jobs have ended, each in success."""
    records = await asyncio.gather(*(inside.ended(name) for name in names))
    assert {record.status for record in records} == {JobStatus.SUCCEEDED}
    return [record.finished_at or 0.0 for record in records]


@pytest.fixture
def drawn(inside: Inside) -> list[str]:
    """Collect the jobs of finished images in the order in which the engine reports them."""
    jobs: list[str] = []
    postprocess = vars(vars(inside.engine)["_postprocess"])
    report = postprocess["_report"]

    def noting(found: Report) -> None:
        if isinstance(found, Finished):
            jobs.append(found.job_id)
        report(found)

    postprocess["_report"] = noting
    return jobs


@pytest.mark.parametrize(
    "inside",
    [{"slots": 2}, {"slots": 20, "rows_per_tick": 4}, {"slots": 20, "rows_per_tick": 40}],
    ids=["two slots", "more slots than rows", "all at once"],
    indirect=True,
)
async def test_a_job_of_many_images_ends_beside_single_ones_as_by_order(
    inside: Inside, drawn: list[str]
) -> None:
    """By order it ends when its own images are drawn: the single ones are all younger."""
    singles = [f"single{i}" for i in range(12)]
    with inside.held("many", *singles, rows=1):
        await inside.submit("many", num_images=16, num_inference_steps=50, preview=0)
        await inside.moving("many", 1)
        for name in singles:
            await inside.submit(name, num_inference_steps=50, preview=0)
        await inside.asking(8)  # the others have slots, where there are twenty
    await ends(inside, "many", *singles)
    last = max(at for at, name in enumerate(drawn) if name == "many")
    others = [name for name in drawn if name != "many"]
    before = last + 1 - 16
    assert len(drawn) == 16 + len(others) == 16 + 12
    print(f"ratio {(16 + before) / 16:.2f}: {before} of {len(others)} single ones ended before")
    assert (16 + before) / 16 <= 1.3


@pytest.mark.parametrize("inside", [{"slots": 8, "rows_per_tick": 16}], indirect=True)
async def test_jobs_of_many_images_end_before_single_ones_that_came_later(
    inside: Inside, drawn: list[str], jobs_settings: JobsSettings
) -> None:
    """Submitted over HTTP, all of them before the worker has drawn much."""
    fields: dict[str, Any] = {"seed": 5, "num_inference_steps": 6, "preview": 0}
    async with open_door(jobs_settings) as (_, http):
        many = [await submit(http, num_images=16, **fields) for _ in range(3)]
        singles = [await submit(http, **fields) for _ in range(96)]
        with inside.held(*many, *singles, rows=1):
            for job_id in (*many, *singles):
                inside.threads.submit(inside.host.answer, job_id)
            await inside.asking(8)
        await ends(inside, *many, *singles)
        for job_id in (many[0], many[-1], singles[-1]):
            assert (await http.get(f"/v1/jobs/{job_id}")).json()["status"] == "succeeded"
    assert len(drawn) == 3 * 16 + 96
    last = max(at for at, name in enumerate(drawn) if name in many)
    print(f"ratio {(last + 1) / 48:.2f}")
    assert (last + 1) / 48 <= 1.3


@two_slots
async def test_a_job_of_a_higher_class_gets_the_next_slot_without_preemption(
    inside: Inside,
) -> None:
    with inside.held("many"):
        await inside.submit("many", num_images=8, num_inference_steps=100, preview=0)
        await inside.moving("many", 5)
        await inside.submit("peer", num_inference_steps=5, preview=0)
        await inside.submit("high", num_inference_steps=5, preview=0, priority="high")
        await inside.asking(2)
    many, peer, high = await ends(inside, "many", "peer", "high")
    assert high < min(many, peer)
    assert (await inside.store.get("many")).attempts == 1


@two_slots
async def test_waiting_images_of_jobs_here_go_by_class(inside: Inside) -> None:
    with inside.held("low"):
        await inside.submit("low", num_images=8, num_inference_steps=60, preview=0, priority="low")
        await inside.moving("low", 5)
        await inside.submit(
            "high", num_images=6, num_inference_steps=60, preview=0, priority="high"
        )
        await inside.asking()
    low, high = await ends(inside, "low", "high")
    assert high < low


@one_slot
async def test_a_suspect_of_many_images_is_drawn_beside_a_claim_that_waits(
    inside: Inside, jobs_settings: JobsSettings
) -> None:
    await inside.create("suspect", num_images=3, num_inference_steps=30, preview=0)
    with Redis.from_url(jobs_settings.redis_url) as redis:
        redis.hset(f"{{{jobs_settings.key_prefix}}}:job:suspect", "deaths", "2")
    inside.threads.submit(inside.host.answer, "suspect")
    await inside.moving("suspect", 1)
    await inside.submit("next", num_inference_steps=5)
    suspect, following = await ends(inside, "suspect", "next")
    assert suspect < following


@one_slot
async def test_a_ring_outlives_a_claim_that_asks_for_a_higher_class_alone(inside: Inside) -> None:
    with inside.held("many"):
        await inside.submit("many", num_images=4, num_inference_steps=30, preview=0)
        await inside.moving("many", 1)
        await inside.submit("single", num_inference_steps=5)
        await inside.asking()
    many, single = await ends(inside, "many", "single")
    assert many < single
