"""A worker's device breaks, hangs or weakens; the process is supervised as by ``sfumato up``."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from time import monotonic

from jobs.schema import JobRecord, JobStatus
from jobs.settings import JobsSettings
from service.processes.supervisor import BACKOFF_S, Child, Supervisor
from tests.faults import children
from tests.faults.client import Client, until
from tests.faults.outcome import Outcome
from tests.faults.processes import Worker
from tests.faults.stage import Clock, Stage
from tests.processes import PATIENCE_S

ENDS_WITHIN_S = 5.0
STALL_S = 1.0


class Supervised(Child):
    """A worker forked for the supervisor; each start has a new id."""

    def __init__(self, start_worker: Callable[[str], Worker]) -> None:
        super().__init__("faulty", (), {}, Path())
        self._start_worker = start_worker
        self.ever: list[Worker] = []
        self.starts: list[float] = []

    def start(self) -> None:
        """Start the worker once more."""
        self.ever.append(self._start_worker(f"faulty{len(self.ever)}"))
        self.process = self.ever[-1].process  # type: ignore[assignment]  # a Popen in all we use
        self.started_at = monotonic()
        self.starts.append(self.started_at)
        self.restart_at = None


async def broken(stage: Stage, *, fault: str, jobs: int, steps: int, lease_s: float) -> Outcome:
    """The worker ends within seconds and comes back with the device; no job is failed for it."""
    outcome, switch = Outcome(), stage.folder / "broken"
    settings = JobsSettings(redis_url=stage.redis().url, lease_s=lease_s)
    await stage.fleet(settings, 1, name="healthy", checkpoint_s=0.2)
    client = stage.client(settings)
    variables = {"DEVICE_FAULT": fault, "DEVICE_SWITCH": str(switch)}
    # A stall so short would end a worker on a busy machine, too.
    hanging = {"stall_s": STALL_S, "hung_s": STALL_S} if fault == "hang" else {}

    def start(name: str) -> Worker:
        return stage.worker(
            settings, name, target=children.faulty_worker, variables=variables,
            checkpoint_s=0.2, **hanging,
        )  # fmt: skip

    async with supervising(Supervised(start)) as child:
        await client.workers({"faulty0"})
        async with supplied(client, jobs, steps) as names:
            await until("a job on the faulty worker", lambda: held(client, "faulty0"))
            switch.touch()
            code, ended_s = await end_of(child.ever[0], stage.clock)
        outcome.note("ended_s", ended_s)
        outcome.expect(code == os.EX_SOFTWARE, f"it exits with {os.EX_SOFTWARE}, not {code}")
        outcome.expect(ended_s <= ENDS_WITHIN_S, f"it ends within {ENDS_WITHIN_S} s: {ended_s}")
        if fault != "hang":  # a device that hangs holds the start up, which operators' probes see
            await end_of(await later(child, 1), stage.clock)
        switch.unlink()
        await client.workers({(await later(child, 1 if fault == "hang" else 2)).name})
    await client.all_ended(len(names), 300)
    judge(outcome, [await client.store.get(name) for name in names])
    pauses = [after - before for before, after in zip(child.starts, child.starts[1:], strict=False)]
    outcome.note("restarts", len(pauses))
    backoff = zip(pauses, BACKOFF_S[1:], strict=False)
    outcome.expect(all(pause >= wait for pause, wait in backoff), f"with backoff: {pauses}")
    return outcome


async def weak(stage: Stage, *, jobs: int, steps: int) -> Outcome:
    """A device that is short of memory, slow and gives NaN now and then draws every job."""
    outcome, switch = Outcome(), stage.folder / "weak"
    settings = JobsSettings(redis_url=stage.redis().url)
    variables = {"DEVICE_FAULT": "weak", "DEVICE_SWITCH": str(switch)}
    fleet = await stage.fleet(settings, 1, target=children.faulty_worker, variables=variables)
    client = stage.client(settings)
    switch.touch()
    names = await client.submit_many(jobs, steps)
    await client.all_ended(jobs, 300)
    judge(outcome, [await client.store.get(name) for name in names])
    (worker,) = fleet
    text = worker.log.read_text()
    outcome.expect(worker.alive, "the worker goes on")
    outcome.expect("out of memory" in text, "the batch is made smaller")
    outcome.expect("the row is evaluated again" in text, "rows with NaN are evaluated again")
    return outcome


def judge(outcome: Outcome, records: Sequence[JobRecord]) -> None:
    """Note how the jobs ended: none may have failed."""
    bad = [record for record in records if record.status is not JobStatus.SUCCEEDED]
    outcome.note("moved", sum(record.attempts > 1 for record in records))
    outcome.expect(not bad, f"no job fails: {[(r.id, r.status, r.error) for r in bad]}")


@asynccontextmanager
async def supervising(child: Supervised) -> AsyncIterator[Supervised]:
    """Supervise a child for the length of the block."""
    supervisor = Supervisor(report=lambda _: None)
    supervisor.start(child)

    async def check() -> None:
        while True:
            supervisor.check()
            await asyncio.sleep(0.05)

    task = asyncio.create_task(check())
    try:
        yield child
    finally:
        task.cancel()
        await asyncio.wait([task])


async def held(client: Client, worker: str) -> bool:
    """Return whether the worker has a job under way."""
    return any(record.step > 5 for record in await client.held_by(worker))


@asynccontextmanager
async def supplied(client: Client, jobs: int, steps: int) -> AsyncIterator[list[str]]:
    """Keep so many jobs under way for the length of the block; yield the ids of all so far."""
    names: list[str] = []
    enough = asyncio.Event()

    async def supply() -> None:
        while not enough.is_set():
            missing = jobs - (len(names) - await client.count_ended())
            for _ in range(missing):
                await client.submit(f"job{len(names)}", num_inference_steps=steps)
                names.append(f"job{len(names)}")
            await asyncio.sleep(0.2)

    task = asyncio.create_task(supply())
    try:
        yield names
    finally:
        enough.set()
        await task


async def end_of(worker: Worker, clock: Clock) -> tuple[int, float]:
    """Return a worker's exit code and the seconds until its end."""
    began = clock()
    code = await asyncio.to_thread(worker.process.wait, PATIENCE_S)
    return code, round(clock() - began, 2)


async def later(child: Supervised, start: int) -> Worker:
    """Return the worker of a later start, once it has been started."""

    async def started() -> bool:
        return len(child.ever) > start

    await until(f"start {start}", started)
    return child.ever[start]
