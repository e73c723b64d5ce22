"""SIGTERM: jobs are given back with their state within seconds and repeat no step."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path
from time import monotonic

import pytest

from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from tests.faults.children import slow, slow_while
from tests.faults.client import Client, until
from tests.faults.conftest import Start, with_long_leases
from tests.faults.stage import Stage
from tests.processes import PATIENCE_S

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


JOBS = [f"job{i}" for i in range(4)]
STEPS = 400
"""Enough that no job ends on a slow device before a busy machine has looked at all of them."""


BUSY_S = 30.0
"""For the process to end, on a machine that does much else."""


@pytest.fixture
def jobs_settings(jobs_settings: JobsSettings) -> JobsSettings:
    return with_long_leases(jobs_settings)


@pytest.fixture
def switch(tmp_path: Path) -> Path:
    """While this file exists, the first worker's device is slow."""
    return tmp_path / "slow"


async def drawing(client: Client, switch: Path) -> bytes:
    """Submit equal jobs and wait until all are drawn; return the picture of an undisturbed one."""
    await client.submit("calm", num_inference_steps=STEPS)
    expected = await client.picture("calm")
    switch.touch()
    await asyncio.gather(*(client.submit(name, num_inference_steps=STEPS) for name in JOBS))
    await asyncio.gather(*(client.at_step(name, 20) for name in JOBS))
    return expected


async def went_on(client: Client, expected: bytes) -> None:
    """Check that the second worker has drawn the jobs to their ends and repeated no step."""
    for name in JOBS:
        assert await client.picture(name) == expected
        record = await client.store.get(name)
        assert (record.worker, record.deaths) == ("second", 0)
        assert record.evaluations == 2 * STEPS, "a step was repeated"


async def test_sigterm_gives_jobs_back_and_no_step_is_repeated(
    start: Start, client: Client, switch: Path
) -> None:
    first = start("first", checkpoint_s=600, **slow_while(switch))
    await client.workers({"first"})
    expected = await drawing(client, switch)
    first.process.terminate()
    for name in JOBS:
        await client.seen(f"{name} given back", name, lambda r: r.status is JobStatus.QUEUED)
    assert await asyncio.to_thread(first.process.wait, PATIENCE_S) == 0
    start("second")
    await went_on(client, expected)

    async def second_alone() -> bool:  # an announcement runs out while a machine stands still
        return {w.id for w in await client.store.workers()} == {"second"}

    await until("the first worker to be forgotten", second_alone)


async def test_an_operator_takes_a_worker_out_and_in_again(
    start: Start, client: Client, switch: Path
) -> None:
    start("first", checkpoint_s=600, **slow_while(switch))
    await client.workers({"first"})
    expected = await drawing(client, switch)
    assert await client.store.drain_worker("first", wanted=True)
    for name in JOBS:
        await client.seen(f"{name} given back", name, lambda r: r.status is JobStatus.QUEUED)
    await until("no jobs", lambda: entry(client, "first", draining=True))
    start("second")
    await went_on(client, expected)
    assert await client.store.drain_worker("second", wanted=True)
    await until("both drained", lambda: entry(client, "second", draining=True))
    await client.submit("waits", num_inference_steps=10)
    await asyncio.sleep(1.0)
    assert (await client.store.get("waits")).status is JobStatus.QUEUED
    switch.unlink()
    assert await client.store.drain_worker("first", wanted=False)
    await client.picture("waits")
    assert (await client.store.get("waits")).worker == "first"


async def entry(client: Client, worker: str, *, draining: bool) -> bool:
    """Return whether a worker announces that it holds no job and is or is not draining."""
    live = await client.store.workers()  # a busy machine may announce it late
    return (worker, 0, draining) in [(each.id, each.jobs, each.draining) for each in live]


@pytest.mark.parametrize("fault", [signal.SIGKILL, signal.SIGSTOP], ids=["gone", "hanging"])
async def test_a_worker_stops_within_a_lease_while_redis_is_away(
    tmp_path: Path, tiny: Path, fault: signal.Signals
) -> None:
    async with Stage(tmp_path / "stage", tiny) as stage:
        redis = stage.redis()
        settings = JobsSettings(redis_url=redis.url, lease_s=2.0)
        (worker,) = await stage.fleet(settings, 1, **slow(pass_s=0.05))
        client = stage.client(settings)
        await client.submit("job", num_inference_steps=1000)
        await client.at_step("job", 5)
        assert redis.process is not None
        redis.process.send_signal(fault)
        began = monotonic()
        worker.process.terminate()
        await asyncio.to_thread(worker.process.wait, PATIENCE_S)
        assert monotonic() - began < settings.lease_s + BUSY_S
        redis.process.send_signal(signal.SIGCONT)


def test_a_worker_refuses_another_pool() -> None:
    env = {"SFUMATO_REDIS_URL": "redis://127.0.0.1:1/0"}
    outcome = subprocess.run(
        [sys.executable, "-m", "celery", "-A", "workers.app", "worker", "-P", "solo"],
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert outcome.returncode != 0
    assert "-P threads" in outcome.stderr
