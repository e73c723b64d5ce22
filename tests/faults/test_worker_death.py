"""A worker killed with -9: its jobs go on elsewhere and end in the same pictures."""

import asyncio
import os
import random
import signal
from time import monotonic

import pytest

from jobs.schema import JobRecord, JobStatus
from tests.faults.conftest import Start
from tests.faults.processes import Client, until

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
CHECKPOINT_S = 0.3


async def test_kill_at_any_step_ends_in_the_same_picture(start: Start, client: Client) -> None:
    options = {"num_inference_steps": 240, "sampler": "dpmpp_2m_sde"}
    first = start("first", checkpoint_s=CHECKPOINT_S)
    await client.workers({"first"})
    await client.submit("undisturbed", **options)
    expected = await client.picture("undisturbed")
    calm = await client.store.get("undisturbed")
    speed = calm.evaluations / calm.running_s
    second = start("second", checkpoint_s=CHECKPOINT_S)
    await client.workers({"second"})
    workers = {"first": first, "second": second}
    for kill, step in enumerate((5, 100, 200)):
        job = f"job{kill}"
        await client.submit(job, **options)
        holder = (await client.at_step(job, step)).worker
        assert holder is not None
        workers[holder].kill()
        killed_at = monotonic()
        await until("another claim", lambda job=job: _attempt(client, job, 2))  # type: ignore[misc]
        assert monotonic() - killed_at < 10, "not picked up within 10 s"
        assert await client.picture(job) == expected
        record = await client.store.get(job)
        again = record.evaluations - calm.evaluations
        # What lies between the last checkpoint and the kill, and a checkpoint's own delay.
        assert again <= speed * (CHECKPOINT_S + 0.7), f"{again} rows were evaluated again"
        if kill < 2:
            workers[holder] = start(holder, checkpoint_s=CHECKPOINT_S)
            await client.workers({holder})


async def _attempt(client: Client, job: str, attempt: int) -> bool:
    return (await client.store.get(job)).attempts >= attempt


async def test_hundred_jobs_and_ten_kills(start: Start, client: Client) -> None:
    chooser = random.Random(3)
    workers = {name: start(name, checkpoint_s=0.2) for name in ("a", "b")}
    await client.workers({"a", "b"})
    steps = [chooser.randint(20, 60) for _ in range(100)]
    submitting = asyncio.gather(
        *(client.submit(f"job{i}", num_inference_steps=n) for i, n in enumerate(steps))
    )
    await submitting
    names = [f"job{i}" for i in range(100)]
    for kill in range(10):
        await asyncio.sleep(chooser.uniform(0.3, 1.0))
        name = "ab"[kill % 2]
        workers[name].kill()
        workers[name] = start(name, checkpoint_s=0.2)
    records: list[JobRecord] = [await client.ended(name, 150) for name in names]
    assert {record.status for record in records} == {JobStatus.SUCCEEDED}
    totals = await client.store.totals()
    assert sum(totals.ended.values()) == 100, "a job was lost or ended twice"
    for name in names:
        results = [e async for e in client.store.events(name) if e.kind == "result"]
        assert len(results) == 1
        assert (await client.store.image(name, 0)).data


async def test_a_stalled_worker_loses_its_job_and_cannot_write(
    start: Start, client: Client
) -> None:
    first = start("first", checkpoint_s=CHECKPOINT_S)
    await client.workers({"first"})
    await client.submit("job", num_inference_steps=600)
    await client.at_step("job", 50)
    os.kill(first.pid, signal.SIGSTOP)
    start("second", checkpoint_s=CHECKPOINT_S)
    await until("another claim", lambda: _attempt(client, "job", 2))
    os.kill(first.pid, signal.SIGCONT)
    record = await client.ended("job")
    assert (record.status, record.worker) == (JobStatus.SUCCEEDED, "second")
    assert sum((await client.store.totals()).ended.values()) == 1
