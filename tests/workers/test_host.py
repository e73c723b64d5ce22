"""A worker's inside on a real store: what happens to jobs, without Celery in between."""

from pathlib import Path

import pytest
import torch
from redis.asyncio import Redis
from torch import Tensor

from diffusion.bundle.bundle import Bundle
from jobs.fleet import WorkerEntry
from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from tests.bundles import tiny_bundle
from tests.faults.client import until
from tests.workers.engine.test_engine import Poisoned
from tests.workers.inside import Inside
from workers.app import model_name
from workers.loading import load
from workers.ops.process_age import process_age_s
from workers.runtime.catalogue import model_entry
from workers.settings import WorkerSettings


async def test_a_job_of_many_images_stores_each_with_its_own_noise(inside: Inside) -> None:
    await inside.submit("job", num_images=5, num_inference_steps=4)
    record = await inside.ended("job")
    assert (record.status, record.step) == (JobStatus.SUCCEEDED, 20)
    assert record.units_done == record.units
    files = {(await inside.store.image("job", i)).data for i in range(5)}
    assert len(files) == 5


async def test_a_cancelled_job_frees_its_slot(inside: Inside) -> None:
    with inside.held("first", "second"):
        for name in ("first", "second"):
            await inside.submit(name, num_inference_steps=1000, sampler="heun")
            await inside.moving(name)
        await inside.submit("third", num_inference_steps=5)
        await inside.store.cancel("first")
        assert (await inside.ended("third")).status is JobStatus.SUCCEEDED
        assert not (await inside.store.get("second")).status.ended
    record = await inside.store.get("first")
    assert (record.status, record.images) == (JobStatus.CANCELED, ())


@pytest.mark.parametrize("inside", [{"lease_s": 3.0, "renew_s": 60.0}], indirect=True)
async def test_a_short_lease_is_renewed_several_times_within_itself(
    inside: Inside, jobs_settings: JobsSettings
) -> None:
    seen: set[float] = set()

    async def renewed() -> bool:
        ends_at = await redis.zscore(f"{{{jobs_settings.key_prefix}}}:leases", "job")
        assert ends_at is not None, "the job has lost its lease"
        seen.add(float(ends_at))
        return len(seen) >= 3

    async with Redis.from_url(jobs_settings.redis_url) as redis:
        with inside.held("job"):
            await inside.submit("job", num_inference_steps=1000)
            await inside.moving("job")
            await until("two renewals", renewed, seen=lambda: seen)
    assert (await inside.store.get("job")).deaths == 0


async def test_a_job_past_its_deadline_leaves(inside: Inside) -> None:
    (model,) = await until("the model", inside.store.models)
    unmeasured = WorkerEntry("former", "here", 1, model.name, "torch", 1, 0, 0.0, 0.0)
    await inside.store.announce_worker(unmeasured)  # so that no deadline is refused
    with inside.held("job"):
        await inside.submit("job", num_inference_steps=1000, sampler="heun", deadline_s=0.5)
        assert (await inside.ended("job")).status is JobStatus.EXPIRED
    await inside.submit("next", num_inference_steps=3)
    assert (await inside.ended("next")).status is JobStatus.SUCCEEDED


async def test_non_finite_values_fail_one_job_with_reason(inside: Inside, bundle: Bundle) -> None:
    original = bundle.backbone
    bundle.backbone = Poisoned(bundle, "poison")
    try:
        await inside.submit("bad", prompt="poison", num_images=3)
        await inside.submit("good", num_inference_steps=30)
        bad, good = await inside.ended("bad"), await inside.ended("good")
    finally:
        bundle.backbone = original
    assert (good.status, bad.status) == (JobStatus.SUCCEEDED, JobStatus.FAILED)
    assert bad.error is not None
    assert bad.error.code == "non_finite"
    assert "sigma" in bad.error.detail


class Colourful:
    """A decoder whose images have five colours, which no file can hold."""

    def __init__(self, bundle: Bundle) -> None:
        self.inner = bundle.decoder

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (B, 5, H, W) in [-1, 1]."""
        images: Tensor = self.inner.decode(latents)
        return torch.cat([images, images[:, :2]], dim=1)


async def test_an_encoding_error_fails_its_job_alone(inside: Inside, bundle: Bundle) -> None:
    colourful = Colourful(bundle)
    bundle.decoder = bundle.previews = colourful
    try:
        await inside.submit("bad", num_images=2, num_inference_steps=100)
        bad = await inside.ended("bad")
    finally:
        bundle.decoder = bundle.previews = colourful.inner
    assert (bad.status, bad.preview_step) == (JobStatus.FAILED, None)
    assert bad.error is not None
    assert bad.error.code == "internal"
    await inside.submit("good", num_inference_steps=5)
    assert (await inside.ended("good")).status is JobStatus.SUCCEEDED


@pytest.mark.parametrize("inside", [{"lease_s": 1.5}], indirect=True)
async def test_a_job_whose_task_fails_unexpectedly_is_left_to_others(inside: Inside) -> None:
    async def fault() -> None:
        raise RuntimeError("nobody foresaw this")

    runtime = inside.runtime
    with inside.held("job"):
        await inside.submit("job", num_inference_steps=1000)
        await inside.moving("job")
        publisher, run = vars(runtime)["_publisher"], vars(runtime)["_jobs"].runs["job"]
        vars(inside.host)["_loop"].call_soon_threadsafe(publisher.spawn, fault(), run)
        await inside.left()
    record = await inside.seen("job queued again", "job", lambda r: r.status is JobStatus.QUEUED)
    assert record.deaths == 1


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
    assert model == model_entry(
        bundle.info, bundle.noise_schedule, units_per_s=speed, cold_start_s=cold_start_s
    )
    assert (worker.model, worker.slots, worker.backend) == ("tiny", 2, "torch")
    assert worker.units_per_s == pytest.approx(speed, abs=0.001)
    assert speed > 0
    assert 0 < cold_start_s <= process_age_s()


@pytest.mark.parametrize("named", [None, "mine"])
def test_the_queue_that_is_read_is_the_model_announced(tmp_path: Path, named: str | None) -> None:
    folder = tiny_bundle(tmp_path / "tiny")
    (folder / "sfumato.json").write_text('{"name": "its-own"}')
    settings = WorkerSettings(model=folder, model_name=named)
    assert load(settings).info.name == model_name(settings) == (named or "its-own")


def test_workers_of_one_host_network_have_ids_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getpid", lambda: 1)  # in a container each
    monkeypatch.setattr("socket.gethostname", lambda: "h" * 253)
    ids = {WorkerSettings().worker_id for _ in range(20)}
    assert len(ids) == 20
    assert max(map(len, ids)) <= 128
