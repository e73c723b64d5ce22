"""KEDA's and the HPA's rules over real workers on a real Redis.

The test stands where Kubernetes stands: it starts worker processes, and takes the least loaded away
with SIGTERM. It is no cluster: nothing is scheduled, pulled or probed.
"""

import asyncio
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from time import monotonic

import pytest

from jobs.scaling import read_signal
from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from tests.benchmarks.engine.policy import Cost
from tests.bundles import tiny_bundle
from tests.conftest import Opened
from tests.faults.client import Client
from tests.faults.processes import Worker
from tests.processes import PATIENCE_S
from tests.scaling.examples import worker
from tests.scaling.kubernetes.autoscaler import Autoscaler
from tests.scaling.kubernetes.scaled_object import compressed
from tests.scaling.paced_worker import paced_worker

pytestmark = [pytest.mark.slow, pytest.mark.full, pytest.mark.timeout(900)]
Start = Callable[[str], Worker]
COMPRESSION = 60  # a minute in a second
SYNC_S = 0.25
STEPS, JOBS = 40, 10


@pytest.fixture
def jobs_settings(jobs_settings: JobsSettings) -> JobsSettings:
    return jobs_settings.model_copy(update={"lease_s": 60.0})  # nobody's end is awaited


@pytest.fixture
def start(jobs_settings: JobsSettings, tmp_path: Path) -> Iterator[Start]:
    model = tiny_bundle(tmp_path / "tiny")
    target = partial(paced_worker, cost=Cost(0.004, 0.0125))
    started: list[Worker] = []

    def begin(name: str) -> Worker:
        log = tmp_path / f"{name}.log"
        started.append(
            Worker(jobs_settings, model, name, log, target=target, deterministic=0, slots=16)
        )
        return started[-1]

    yield begin
    for one in started:
        one.end()
        print(one.log.read_text()[-2000:])


class Replicas:
    """The workers of one Deployment."""

    def __init__(self, client: Client, start: Start) -> None:
        self._client = client
        self._start = start
        self.live: list[Worker] = []
        self.leaving: list[Worker] = []
        self.wanted: list[int] = []

    async def set(self, wanted: int) -> None:
        """Start workers, or send SIGTERM to those that have the fewest jobs."""
        if wanted == len(self.live):
            return
        self.wanted.append(wanted)
        while len(self.live) < wanted:
            self.live.append(self._start(f"w{len(self.wanted)}-{len(self.live)}"))
        jobs = {entry.id: entry.jobs for entry in await self._client.store.workers()}
        self.live.sort(key=lambda each: jobs.get(each.name, -1), reverse=True)
        for each in self.live[wanted:]:
            each.process.terminate()
        self.leaving += self.live[wanted:]
        del self.live[wanted:]

    async def ended(self) -> None:
        """Wait until those that were to stop have stopped by themselves."""
        for each in self.leaving:
            code = await asyncio.to_thread(each.process.wait, PATIENCE_S)
            # A worker that gets the signal before it listens is ended by it and holds no job.
            assert code in (0, -signal.SIGTERM), f"{each.name} ended with {code}"


async def submit(client: Client) -> None:
    for i in range(JOBS):
        await client.submit(f"job{i}", num_inference_steps=STEPS, guidance_scale=3.0)
        await asyncio.sleep(0.1)


async def test_workers_come_with_work_and_are_drained_without_losing_a_job(
    opened: Opened[Client], jobs_settings: JobsSettings, start: Start
) -> None:
    """Wake, grow to three, give jobs back on the way down, sleep."""
    client = opened(Client(jobs_settings))
    first = start("first")  # announces the model, as the first one of a deployment does
    await client.submit("first")
    await client.ended("first")
    assert await asyncio.to_thread(first.stop) == 0
    autoscaler = Autoscaler(compressed(worker(most=3), COMPRESSION), sync_s=SYNC_S)
    replicas = Replicas(client, start)
    began, submitting = monotonic(), asyncio.create_task(submit(client))
    while replicas.live or not submitting.done() or await client.count_ended() <= JOBS:
        assert all(each.alive for each in replicas.live)
        if (now := monotonic() - began) >= autoscaler.due_s:
            seen = await read_signal(client.store, "tiny")
            value = None if seen is None else seen.backlog_s
            wanted = autoscaler.turn(now, len(replicas.live), lambda value=value: value)  # type: ignore[misc]
            await replicas.set(wanted)
        await asyncio.sleep(0.05)
    await submitting
    await replicas.ended()
    assert max(replicas.wanted) == 3
    assert replicas.wanted[-1] == 0
    for i in range(JOBS):
        record = await client.store.get(f"job{i}")
        assert (record.status, record.deaths) == (JobStatus.SUCCEEDED, 0), record
        assert record.evaluations == 2 * STEPS, "a job given back went on where it was"
