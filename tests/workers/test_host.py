"""A worker's inside on a real store: what happens to jobs, without Celery in between."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from diffusion.bundle import Bundle
from jobs.catalogue import resolve, units
from jobs.redis_store import RedisStore
from jobs.schema import JobRecord, JobRequest, JobStatus
from jobs.settings import JobsSettings
from jobs.store import WorkerEntry
from tests.faults.client import until
from tests.workers.test_engine import Poisoned
from workers.catalogue import model_entry
from workers.host import WorkerHost
from workers.process_age import process_age_s
from workers.settings import WorkerSettings


@dataclass
class Inside:
    """A host whose rings are answered by threads of the test."""

    host: WorkerHost
    store: RedisStore
    threads: ThreadPoolExecutor

    async def submit(self, job_id: str, **fields: object) -> None:
        """Store a job and have its ring answered."""
        (model,) = await until("the model", self.store.models)
        values = {"prompt": "a red apple", "seed": 5} | fields
        spec = resolve(JobRequest.model_validate(values), model)
        await self.store.create(job_id, spec, units(spec, model))
        self.threads.submit(self.host.answer, job_id)

    async def ended(self, job_id: str) -> JobRecord:
        """Return the job once it has ended."""

        async def look() -> JobRecord | None:
            record = await self.store.get(job_id)
            return record if record.status.ended else None

        return await until(f"the end of {job_id}", look)

    async def moving(self, job_id: str, step: int = 3) -> None:
        """Wait until the job is under way."""

        async def look() -> bool:
            return (await self.store.get(job_id)).step >= step

        await until(f"{job_id} at step {step}", look)


@pytest.fixture
async def inside(
    request: pytest.FixtureRequest, bundle: Bundle, jobs_settings: JobsSettings
) -> AsyncIterator[Inside]:
    options = {"slots": 2, "rows_per_tick": 4} | getattr(request, "param", {})
    settings = WorkerSettings(**jobs_settings.model_dump(), renew_s=0.2, **options)
    host = WorkerHost(bundle, settings)
    host.start()
    threads = ThreadPoolExecutor(32)
    store = RedisStore(jobs_settings)
    yield Inside(host, store, threads)
    await asyncio.to_thread(host.stop)
    threads.shutdown()
    await store.close()


async def test_a_job_of_many_pictures_stores_each_with_its_own_noise(inside: Inside) -> None:
    await inside.submit("job", num_images=5, num_inference_steps=4)
    record = await inside.ended("job")
    assert (record.status, record.step, record.units_done) == (
        JobStatus.SUCCEEDED,
        20,
        record.units,
    )
    files = {(await inside.store.image("job", i)).data for i in range(5)}
    assert len(files) == 5


async def test_a_cancelled_job_frees_its_slot(inside: Inside) -> None:
    for name in ("first", "second"):
        await inside.submit(name, num_inference_steps=1000)
        await inside.moving(name)
    await inside.submit("third", num_inference_steps=5)
    await inside.store.cancel("first")
    assert (await inside.ended("third")).status is JobStatus.SUCCEEDED
    assert not (await inside.store.get("second")).status.ended
    record = await inside.store.get("first")
    assert (record.status, record.images) == (JobStatus.CANCELED, ())


async def test_a_job_past_its_deadline_leaves(inside: Inside) -> None:
    (model,) = await until("the model", inside.store.models)
    unmeasured = WorkerEntry("former", "here", 1, model.name, "torch", 1, 0, 0.0, 0.0)
    await inside.store.announce_worker(unmeasured)  # so that no deadline is refused
    await inside.submit("job", num_inference_steps=1000, sampler="heun", deadline_s=0.5)
    assert (await inside.ended("job")).status is JobStatus.EXPIRED
    await inside.submit("next", num_inference_steps=3)
    assert (await inside.ended("next")).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("inside", [{"slots": 1}], indirect=True)
async def test_a_higher_class_parks_a_lower_job_which_repeats_nothing(inside: Inside) -> None:
    await inside.submit("low", priority="low", num_inference_steps=150)
    await inside.moving("low", 10)
    await inside.submit("high", priority="high", num_inference_steps=5)
    high = await inside.ended("high")
    parked = await inside.store.get("low")
    assert not parked.status.ended
    inside.threads.submit(inside.host.answer, "low")
    low = await inside.ended("low")
    assert (high.status, low.status) == (JobStatus.SUCCEEDED, JobStatus.SUCCEEDED)
    assert (low.attempts, low.deaths) == (2, 0)
    assert low.evaluations == 300, "parking repeated a step"


async def test_non_finite_values_fail_one_job_with_the_reason(
    inside: Inside, bundle: Bundle
) -> None:
    original = bundle.backend
    bundle.backend = Poisoned(bundle, "poison")
    try:
        await inside.submit("bad", prompt="poison", num_images=3)
        await inside.submit("good", num_inference_steps=30)
        bad, good = await inside.ended("bad"), await inside.ended("good")
    finally:
        bundle.backend = original
    assert good.status is JobStatus.SUCCEEDED
    assert bad.status is JobStatus.FAILED
    assert bad.error is not None
    assert bad.error.code == "non_finite"
    assert "sigma" in bad.error.detail


async def test_previews_and_progress_are_published(inside: Inside) -> None:
    await inside.submit("job", num_inference_steps=200)
    events = [event async for event in inside.store.events("job")]
    kinds = [event.kind for event in events]
    assert kinds[-1] == "result"
    assert {"status", "progress", "preview"} <= set(kinds)
    steps = [event.data["step"] for event in events if event.kind == "progress"]
    assert steps == sorted(steps)
    kind, data = await inside.store.latest_preview("job") or ("", b"")
    assert (kind, data[:4]) == ("image/webp", b"RIFF")


async def test_the_worker_and_its_model_are_announced(inside: Inside, bundle: Bundle) -> None:
    (model,) = await until("the model", inside.store.models)
    (worker,) = await until("the worker", inside.store.workers)
    speed, cold_start_s = model.units_per_s, model.cold_start_s
    assert model == model_entry(bundle.info, units_per_s=speed, cold_start_s=cold_start_s)
    assert (worker.model, worker.slots, worker.backend) == ("tiny", 2, "torch")
    assert worker.units_per_s == pytest.approx(speed, abs=0.001)
    assert speed > 0
    assert 0 < cold_start_s <= process_age_s()
