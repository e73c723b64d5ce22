"""A job of many images is drawn by all idle workers, whoever of them dies."""

import asyncio
import signal
from collections.abc import Iterable

import pytest

from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from tests.faults.children import slow
from tests.faults.client import Client, until
from tests.faults.conftest import Start
from tests.faults.processes import Worker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
IMAGES, STEPS = 8, 60
TRIES = 20  # a busy machine's workers may take too long for an offer
NAMES = ("one", "two", "three")


@pytest.fixture
def jobs_settings(jobs_settings: JobsSettings) -> JobsSettings:
    return jobs_settings.model_copy(update={"lease_s": 15.0})  # no busy worker loses its job


async def workers(start: Start, client: Client, names: Iterable[str] = NAMES) -> dict[str, Worker]:
    """Start workers that take a while for each row, so that all have a part of the time."""
    started = {name: start(name, checkpoint_s=0.2, **slow(row_s=0.003)) for name in names}
    await client.workers(names)
    await take_rings(client, set(names))
    return started


async def take_rings(client: Client, names: set[str]) -> None:
    """Submit small jobs until each worker has drawn one: Celery listens after the announcement."""
    silent, sent = set(names), 0
    while silent:
        probe = f"probe-{min(names)}-{sent}"
        await client.submit(probe, num_inference_steps=4)
        silent.discard(str((await client.ended(probe)).worker))
        sent += 1


async def images(client: Client, job_id: str) -> list[bytes]:
    record = await client.ended(job_id, 240)
    assert (record.status, record.deaths) == (JobStatus.SUCCEEDED, 0), record.error
    return [(await client.store.image(job_id, i)).data for i in range(IMAGES)]


async def submit(client: Client, job_id: str, steps: int = STEPS) -> None:
    await client.submit(job_id, num_images=IMAGES, num_inference_steps=steps)


def drew(worker: Worker, job_id: str) -> bool:
    lines = worker.log.read_text().splitlines()
    return any("images taken" in line and f'"{job_id}"' in line for line in lines)


async def helped_job(client: Client, started: dict[str, Worker], steps: int) -> str:
    """Submit jobs until one is helped with; return its id."""
    for number in range(TRIES):
        await submit(client, job_id := f"job{number}", steps)

        async def helped_or_ended(job_id: str = job_id) -> bool:
            record = await client.store.get(job_id)
            helped = any(drew(worker, job_id) for worker in started.values())
            return record.status.ended or (helped and record.step > 10)

        await until("help", helped_or_ended)
        if not (await client.store.get(job_id)).status.ended:
            return job_id
    raise AssertionError("nobody has helped")


async def test_idle_workers_draw_their_shares(start: Start, client: Client) -> None:
    started = await workers(start, client, ["one"])
    await submit(client, "alone")
    expected = await images(client, "alone")
    started |= await workers(start, client, NAMES[1:])
    for number in range(TRIES):
        await submit(client, shared := f"shared{number}")
        assert await images(client, shared) == expected
        record = await client.store.get(shared)
        assert record.evaluations == IMAGES * STEPS * 2
        if any(drew(worker, shared) for worker in started.values()):
            return
    raise AssertionError("nobody has helped")


@pytest.mark.full
@pytest.mark.parametrize("who", ["helper", "owner"])
async def test_a_death_costs_nothing_but_time(
    start: Start, client: Client, jobs_settings: JobsSettings, who: str
) -> None:
    started = await workers(start, client)
    job = await helped_job(client, started, STEPS)
    owner = str((await client.store.get(job)).worker)
    (victim, *_) = [
        worker for name, worker in started.items()
        if (name == owner) == (who == "owner") and (who == "owner" or drew(worker, job))
    ]  # fmt: skip
    victim.process.send_signal(signal.SIGKILL)
    record = await client.ended(job, 240)
    assert (record.status, len(record.images)) == (JobStatus.SUCCEEDED, IMAGES), record.error
    assert record.deaths == 0


@pytest.mark.full
async def test_a_cancelled_job_frees_its_helpers(start: Start, client: Client) -> None:
    started = await workers(start, client)
    job = await helped_job(client, started, 1000)
    await client.store.cancel(job)

    async def empty() -> bool:
        return not any(worker.jobs for worker in await client.store.workers())

    await until("all to be empty", empty)
    await asyncio.sleep(0.5)
    assert (await client.store.get(job)).status is JobStatus.CANCELED
