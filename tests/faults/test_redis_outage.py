"""Redis killed and started again under load: nothing is lost, nobody has to be restarted."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from service.redis_server import free_port
from tests.faults.conftest import Start
from tests.faults.processes import Client, RedisProcess

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


@pytest.fixture
async def mortal(tmp_path: Path) -> AsyncIterator[RedisProcess]:
    server = RedisProcess(tmp_path / "redis", free_port())
    server.start()
    yield server
    server.kill()


async def test_kill_and_restart_under_load(start: Start, mortal: RedisProcess) -> None:
    settings = JobsSettings(redis_url=mortal.url)
    worker = start("worker", settings=settings)
    client = Client(settings)
    await client.workers({"worker"})
    names = [f"job{i}" for i in range(30)]
    for name in names:
        await client.submit(name, num_inference_steps=80)
    await asyncio.sleep(1.5)  # AOF is written to disk once a second
    for _ in range(2):
        mortal.kill()
        await asyncio.sleep(1.0)
        mortal.start()
        await asyncio.sleep(1.0)
    records = [await client.ended(name, 90) for name in names]
    assert {record.status for record in records} == {JobStatus.SUCCEEDED}
    assert {record.deaths for record in records} == {0}
    assert worker.process.poll() is None
    assert worker.stop() == 0
    await client.close()
