"""Jobs that fail by their worker's fault are tried elsewhere; a worker that only fails ends."""

import asyncio

import pytest
import torch
from torch import Tensor

from diffusion.bundle.bundle import Bundle
from jobs.fleet import WorkerEntry
from jobs.schema import JobRecord, JobStatus
from tests.faults.client import until
from tests.faults.devices import Faulty, out_of_memory
from tests.workers.inside import Inside
from workers.runtime import runtime


class NaN:
    """A decoder of images that are no numbers."""

    name = "toy in float16"

    def decode(self, latents: Tensor) -> Tensor:
        """Return images (B, 3, 32, 32)."""
        return torch.full((len(latents), 3, 32, 32), torch.nan)


@pytest.fixture
def broken(inside: Inside, bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every forward pass fail, though not the device."""

    def fault(_call: int, prediction: Tensor) -> Tensor:
        raise RuntimeError("no kernel for this shape")

    monkeypatch.setattr(bundle, "backbone", Faulty(bundle.backbone, fault))


async def failed(inside: Inside, job_id: str, code: str) -> JobRecord:
    record = await inside.ended(job_id)
    assert (record.status, record.error and record.error.code) == (JobStatus.FAILED, code)
    return record


async def returned(inside: Inside, job_id: str) -> None:
    """Wait until a job has been given back after its first claim."""
    await inside.seen(
        f"the return of {job_id}",
        job_id,
        lambda record: (record.status, record.attempts) == (JobStatus.QUEUED, 1),
    )


async def other_worker(inside: Inside, model: str = "tiny") -> None:
    """Announce another worker."""
    (own,) = await until("the worker", inside.store.workers)
    await inside.store.announce_worker(
        WorkerEntry("other", own.host, 1, model, own.backend, 1, 0, 0.0, own.started_at)
    )


async def test_pixels_that_are_no_numbers_fail_the_job_and_name_the_decoder(
    inside: Inside, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    await other_worker(inside)
    for decoder in ("decoder", "previews"):
        monkeypatch.setattr(bundle, decoder, NaN())
    await inside.submit("job", num_inference_steps=3)
    record = await failed(inside, "job", "non_finite")
    assert record.error is not None
    assert "the decoder (toy in float16)" in record.error.detail
    assert (record.preview_step, record.images, record.attempts) == (None, (), 1)


async def test_a_job_that_fails_is_tried_once_by_another_worker(
    broken: None, inside: Inside
) -> None:
    await other_worker(inside)
    await inside.submit("job", num_inference_steps=3)
    await returned(inside, "job")
    await inside.submit("next", num_inference_steps=3)  # the worker's next claim is not for it
    await returned(inside, "next")
    again = await inside.store.claim("tiny", "other", idle=True)
    assert again is not None
    assert (again.record.id, again.record.attempts, again.record.deaths) == ("job", 2, 0)
    await inside.store.requeue(again.lease, "drain")


async def test_a_job_fails_that_no_other_worker_can_draw(broken: None, inside: Inside) -> None:
    await other_worker(inside, model="another")
    await inside.submit("job", num_inference_steps=3)
    assert "no kernel" in str((await failed(inside, "job", "internal")).error)


@pytest.mark.parametrize("inside", [{"suspect_wait_s": 0.0}], indirect=True)
async def test_the_second_failure_is_final_whoever_has_it(broken: None, inside: Inside) -> None:
    await other_worker(inside)
    await inside.submit("job", num_inference_steps=3)
    await returned(inside, "job")
    inside.threads.submit(inside.host.answer, "job")
    assert (await failed(inside, "job", "internal")).attempts == 2


async def test_what_fits_on_no_device_here_may_fit_on_another(
    inside: Inside, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundle, "backbone", Faulty(bundle.backbone, out_of_memory(1)))
    await other_worker(inside)
    await inside.submit("job", num_inference_steps=3)
    await returned(inside, "job")


@pytest.fixture
def ends(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Collect why the process would have ended."""
    reasons: list[str] = []
    monkeypatch.setattr(runtime, "end_process", reasons.append)
    return reasons


@pytest.mark.parametrize("inside", [{"max_failures": 3}], indirect=True)
async def test_a_worker_that_only_fails_gives_its_jobs_back_and_ends(
    broken: None, inside: Inside, ends: list[str]
) -> None:
    for i in range(3):
        await inside.submit(f"job{i}", num_inference_steps=3)
        await failed(inside, f"job{i}", "internal")
    while not ends:
        await asyncio.sleep(0.01)
    await inside.create("later")
    await asyncio.wrap_future(inside.threads.submit(inside.host.answer, "later"))
    assert ends == ["3 jobs failed in a row"]
    assert (await inside.store.get("later")).status is JobStatus.QUEUED


@pytest.mark.parametrize("inside", [{"max_failures": 2}], indirect=True)
async def test_failures_with_a_picture_between_them_end_nothing(
    inside: Inside, bundle: Bundle, ends: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(3):
        with monkeypatch.context() as patch:
            patch.setattr(bundle, "decoder", NaN())
            await inside.submit(f"bad{i}", num_inference_steps=3)
            await failed(inside, f"bad{i}", "non_finite")
        await inside.submit(f"good{i}", num_inference_steps=3)
        assert (await inside.ended(f"good{i}")).status is JobStatus.SUCCEEDED
    assert not ends
