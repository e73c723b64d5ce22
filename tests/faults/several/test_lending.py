"""A job of many images is drawn by all idle workers, whoever of them dies."""

import asyncio
import signal
from collections.abc import Iterable

import pytest

from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from tests.faults import children
from tests.faults.client import Client, until
from tests.faults.conftest import Start
from tests.faults.processes import Worker

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
IMAGES, STEPS = 8, 60
NAMES = ("one", "two", "three")


async def workers(start: Start, client: Client, names: Iterable[str] = NAMES) -> dict[str, Worker]:
    """Start workers that take a while for each row, so that all have a part of the time."""
    variables = {"DEVICE_ROW_S": "0.003", "DEVICE_FAULT": "weak", "DEVICE_SWITCH": "/nonexistent"}
    started = {
        name: start(name, target=children.faulty_worker, variables=variables, checkpoint_s=0.2)
        for name in names
    }
    await client.workers(names)
    await asyncio.sleep(2.0)  # until Celery takes rings, which is after the announcement
    return started


async def images(client: Client, job_id: str) -> list[bytes]:
    record = await client.ended(job_id, 120)
    assert (record.status, record.deaths) == (JobStatus.SUCCEEDED, 0), record.error
    return [(await client.store.image(job_id, i)).data for i in range(IMAGES)]


async def submit(client: Client, job_id: str) -> None:
    await client.submit(job_id, num_images=IMAGES, num_inference_steps=STEPS)


def drew(worker: Worker) -> bool:
    return "images taken" in worker.log.read_text()


async def test_idle_workers_draw_their_shares(start: Start, client: Client) -> None:
    started = await workers(start, client, ["one"])
    await submit(client, "alone")
    expected = await images(client, "alone")
    started |= await workers(start, client, NAMES[1:])
    await submit(client, "shared")
    assert await images(client, "shared") == expected
    record = await client.store.get("shared")
    assert record.evaluations == IMAGES * STEPS * 2
    assert any(map(drew, started.values())), "nobody has helped"


@pytest.mark.full
@pytest.mark.parametrize("who", ["helper", "owner"])
async def test_a_death_costs_nothing_but_time(
    start: Start, client: Client, jobs_settings: JobsSettings, who: str
) -> None:
    started = await workers(start, client)
    await submit(client, "job")

    async def helped() -> bool:
        record = await client.store.get("job")
        return record.step > 10 and any(map(drew, started.values()))

    await until("help", helped)
    owner = str((await client.store.get("job")).worker)
    (victim, *_) = [
        worker for name, worker in started.items()
        if (name == owner) == (who == "owner") and (who == "owner" or drew(worker))
    ]  # fmt: skip
    victim.process.send_signal(signal.SIGKILL)
    record = await client.ended("job", 120)
    assert (record.status, len(record.images)) == (JobStatus.SUCCEEDED, IMAGES), record.error
    assert record.deaths == 0


@pytest.mark.full
async def test_a_cancelled_job_frees_its_helpers(start: Start, client: Client) -> None:
    started = await workers(start, client)
    await submit(client, "job")

    async def helped() -> bool:
        return any(map(drew, started.values()))

    await until("help", helped)
    await client.store.cancel("job")

    async def empty() -> bool:
        return not any(worker.jobs for worker in await client.store.workers())

    await until("all to be empty", empty)
    await asyncio.sleep(0.5)
    assert (await client.store.get("job")).status is JobStatus.CANCELED
