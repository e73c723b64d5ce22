"""One worker of two models of which only one fits: jobs of both come and none is lost."""

import asyncio
from pathlib import Path
from statistics import fmean

import pytest

from diffusion.bundle.contents import weight_bytes
from jobs.catalogue import resolve, units
from jobs.redis.store import RedisStore
from jobs.schema import JobRecord, JobRequest, JobStatus
from jobs.settings import JobsSettings
from tests.bundles import named, tiny_bundle
from tests.faults.client import Client, until
from tests.faults.conftest import Start, with_long_leases
from tests.processes import PATIENCE_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
JOBS = 40


@pytest.fixture
def jobs_settings(jobs_settings: JobsSettings) -> JobsSettings:
    return with_long_leases(jobs_settings)


@pytest.fixture(scope="session")
def second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return named(tiny_bundle(tmp_path_factory.mktemp("models"), seed=1), "second")


async def known(store: RedisStore, count: int) -> None:
    async def look() -> bool:
        return len(await store.models()) == count

    await until(f"{count} models", look)


async def submit(client: Client, job_id: str, model: str, **fields: object) -> None:
    """Submit a job of one of several models."""
    entries = {entry.name: entry for entry in await client.store.models()}
    fields = {"prompt": "a red apple", "seed": 5, "preview": 0, "model": model} | fields
    spec = resolve(JobRequest.model_validate(fields), entries[model])
    await client.store.create(job_id, spec, units(spec, entries[model]))
    await client.bell.ring(model, job_id)


async def ended(client: Client, names: list[str]) -> list[JobRecord]:
    return [await client.ended(name, 240) for name in names]


def latency_s(record: JobRecord) -> float:
    assert record.finished_at is not None
    return record.finished_at - record.created_at


@pytest.mark.full
async def test_jobs_of_two_models_on_one_worker(
    start: Start, client: Client, tiny: Path, second: Path
) -> None:
    memory = weight_bytes(tiny) + weight_bytes(second) - 1
    worker = start("w", slots=2, pool=second, model_memory=memory)
    await known(client.store, 2)
    for name in ("first-a", "first-b"):
        await submit(
            client, name, "tiny" if name.endswith("a") else "second", num_inference_steps=5
        )
    alone = await ended(client, ["first-a", "first-b"])
    assert {record.status for record in alone} == {JobStatus.SUCCEEDED}
    names = []
    for number in range(JOBS):
        model = ("tiny", "second")[number % 2]
        names.append(f"{model}{number}")
        await submit(client, names[-1], model, num_inference_steps=100)
    records = await ended(client, names)
    assert {record.status for record in records} == {JobStatus.SUCCEEDED}
    assert {record.deaths for record in records} == {0}
    assert {record.worker for record in records} == {"w/tiny", "w/second"}
    loads = worker.log.read_text().count("model loaded")
    print(f"{loads} loads, mean latency {fmean(map(latency_s, records)):.2f} s")

    async def one_is_loaded() -> bool:
        entries = {entry.id: entry.loaded for entry in await client.store.workers()}
        # Each announces it for itself, and not while the machine stands still.
        return sorted(entries) == ["w/second", "w/tiny"] and sum(entries.values()) == 1

    await until("one model to be loaded", one_is_loaded)
    assert 1 <= loads <= 20


async def test_both_stay_loaded_where_they_fit(
    start: Start, client: Client, second: Path, jobs_settings: JobsSettings
) -> None:
    worker = start("w", slots=2, pool=second)
    await known(client.store, 2)
    names = []
    for number in range(10):
        model = ("tiny", "second")[number % 2]
        names.append(f"{model}{number}")
        await submit(client, names[-1], model, num_inference_steps=50)
    records = await ended(client, names)
    assert {record.status for record in records} == {JobStatus.SUCCEEDED}
    assert {record.attempts for record in records} == {1}
    assert "model loaded" not in worker.log.read_text()
    assert all(entry.loaded for entry in await client.store.workers())
    worker.process.terminate()
    assert await asyncio.to_thread(worker.process.wait, PATIENCE_S) == 0
    assert await client.store.workers() == ()
