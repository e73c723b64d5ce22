"""Every counter that a worker or a door exports only rises, whatever happens between scrapes."""

import asyncio
import threading
from collections.abc import Iterable

import pytest
from httpx import AsyncClient
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from diffusion.bundle.bundle import Bundle
from jobs.settings import JobsSettings
from tests.service.doors import open_door, submit
from tests.workers.engine.test_engine import Poisoned, Small
from tests.workers.harness import Bench, image_request
from tests.workers.inside import Inside
from workers.engine.engine import EngineSettings
from workers.engine.throughput import EngineStats
from workers.ops.metrics import Counters

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]
RISING = ("counter", "histogram")


def rising(text: str) -> Series:
    """Return the series of a scrape that may only rise."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        if family.type in RISING
        for sample in family.samples
    }


def scrape(registry: CollectorRegistry) -> Series:
    return rising(generate_latest(registry).decode())


def fallen(scrapes: Iterable[Series]) -> list[str]:
    """Return every series that fell or went away between two scrapes, with its values."""
    former: Series = {}
    found = []
    for series in scrapes:
        gone = [(key, value, series.get(key)) for key, value in former.items()]
        found += [f"{k}: {v} → {n}" for k, v, n in gone if n is None or n < v]
        former = series
    return found


def test_counters_of_an_engine_at_work_only_rise(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "backbone", Small(bundle, 7))
    bench = Bench(bundle, EngineSettings(slots=8, rows_per_tick=16))
    counters = Counters("tiny", bench.engine, 8)
    scrapes, stop = [scrape(counters.registry)], threading.Event()

    def look() -> None:
        while not stop.is_set():
            scrapes.append(scrape(counters.registry))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        bench.draw(image_request("bad", sampler="no_such"))
        while len(scrapes) <= 10:
            requests = [image_request(f"job{i}", seed=i, steps=3 + i % 20) for i in range(40)]
            bench.draw(*requests)
    finally:
        stop.set()
        looking.join()
    scrapes.append(scrape(counters.registry))
    assert len(scrapes) > 10
    assert fallen(scrapes) == []
    assert scrapes[-1] != scrapes[0]


def test_a_clock_that_is_off_takes_nothing_from_a_counter() -> None:
    stats = EngineStats()
    stats.ticked(-1.0, (), full=True)
    stats.ticked(1e-12, (), full=True)
    assert stats.overhead_s >= 0.0


@pytest.fixture
def poisoned(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the model return NaN for one prompt."""
    monkeypatch.setattr(bundle, "backbone", Poisoned(bundle, "poison"))


async def test_counters_of_door_and_worker_only_rise(
    poisoned: None, inside: Inside, jobs_settings: JobsSettings
) -> None:
    async with open_door(jobs_settings) as (app, http):
        registries = [inside.host.counters.registry, app.state.door.counters.registry]
        scrapes: list[Series] = []

        async def look() -> None:
            seen: Series = {}
            for registry in registries:
                seen |= await asyncio.to_thread(scrape, registry)
            scrapes.append(seen | rising((await http.get("/metrics")).text))

        await look()
        jobs = [await started(http, inside, i) for i in range(8)]
        with inside.held(last := await submit(http, num_inference_steps=1000, num_images=3)):
            inside.threads.submit(inside.host.answer, last)
            await look()
            await http.post(f"/v1/jobs/{last}/cancel")
        jobs.append(last)
        await http.get("/v1/jobs/nothing")
        for job in jobs:
            await inside.ended(job)
            await look()
        for job in jobs:
            await http.delete(f"/v1/jobs/{job}")
            await look()
    assert fallen(scrapes) == []
    jobs_ended = {
        outcome: scrapes[-1]["sfumato_jobs_total", (("outcome", outcome),)]
        for outcome in ("succeeded", "failed", "canceled")
    }
    assert all(jobs_ended.values()), jobs_ended


async def started(http: AsyncClient, inside: Inside, number: int) -> str:
    """Submit a job and have its ring answered; the fourth fails."""
    job = await submit(
        http,
        prompt="poison" if number == 3 else "a red apple",
        num_inference_steps=4 + number,
        num_images=1 + number % 3,
    )
    inside.threads.submit(inside.host.answer, job)
    return job
