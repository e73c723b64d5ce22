"""Real workers on a real Redis, started and stopped as an autoscaler's rules say.

Stands where Kubernetes stands: it counts replicas, starts worker processes, and takes the least
loaded away with SIGTERM. It is no cluster: nothing is scheduled, pulled or probed.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from time import monotonic

from jobs.scaling import read_signal
from jobs.schema import JobStatus
from tests.faults.client import Client
from tests.faults.processes import Worker
from tests.scaling.kubernetes.autoscaler import Autoscaler
from tests.scaling.load import Order
from tests.scaling.simulation import Outcome

Start = Callable[[str], Worker]
Measure = Callable[[Client, str], Awaitable[float | None]]
TICK_S = 0.05
GRACE_S = 15.0
"""After which a worker that was told to stop is killed, as the kubelet does."""


async def by_work(client: Client, model: str) -> float | None:
    """Measure the scaling signal."""
    read = await read_signal(client.store, model)
    return None if read is None else read.backlog_s


async def by_list_length(client: Client, model: str) -> float | None:
    """Measure messages that no worker has taken."""
    return float(await client.bell.waiting(model))


@dataclass(eq=False)
class Replica:
    """A worker process and when it was started."""

    worker: Worker
    started_s: float
    told_s: float | None = None  # when it was sent SIGTERM

    @property
    def leaving(self) -> bool:
        """Whether it has been told to stop."""
        return self.told_s is not None


@dataclass
class Supervisor:
    """One run: a load, an autoscaler, and the processes it asks for."""

    client: Client
    model: str
    start: Start
    outcome: Outcome = field(default_factory=Outcome)
    cold_starts_s: list[float] = field(default_factory=list)
    drains_s: list[float] = field(default_factory=list)
    repeated_units: int = 0
    killed: int = 0  # workers that did not stop within the grace period
    _replicas: list[Replica] = field(default_factory=list)
    _unready: dict[str, float] = field(default_factory=dict)

    @property
    def _live(self) -> list[Replica]:
        return [replica for replica in self._replicas if not replica.leaving]

    async def introduce(self) -> None:
        """Let one worker announce the model, as the first one of a deployment does, and stop."""
        worker = self.start("first")
        await self.client.submit("first")
        await self.client.ended("first")
        assert await asyncio.to_thread(worker.stop, GRACE_S) == 0

    async def run(self, load: Sequence[Order], autoscaler: Autoscaler, measure: Measure) -> Outcome:
        """Submit the load at its times; return once all jobs have ended and no worker is left."""
        began = monotonic()
        submitting = asyncio.create_task(self._submit(load, began))
        while self._replicas or not (submitting.done() and await self._idle()):
            now = monotonic() - began
            if now >= autoscaler.due_s:
                await self._turn(autoscaler, now, measure)
            await self._look(now)
            await asyncio.sleep(TICK_S)
        await submitting
        await self._account(load)
        return self.outcome

    async def _idle(self) -> bool:
        backlog = await self.client.store.backlog(self.model)
        return backlog.pending_jobs + backlog.running_jobs == 0

    async def _submit(self, load: Sequence[Order], began: float) -> None:
        for i, order in enumerate(load):
            await asyncio.sleep(max(0.0, began + order.at_s - monotonic()))
            await self.client.submit(
                f"job{i}",
                num_inference_steps=order.steps,
                guidance_scale=order.guidance,
                num_images=order.images,
                sampler="euler",
            )

    async def _turn(self, autoscaler: Autoscaler, now: float, measure: Measure) -> None:
        value = await measure(self.client, self.model)
        wanted = autoscaler.turn(now, len(self._live), lambda: value)
        if wanted != len(self._live):
            self.outcome.replicas.append((now, wanted))
            await self._set(wanted, now)

    async def _set(self, wanted: int, now: float) -> None:
        for _ in range(wanted - len(self._live)):
            self.outcome.starts += 1
            worker = self.start(f"w{self.outcome.starts}")
            self._replicas.append(Replica(worker, now))
            self._unready[worker.name] = now
        loads = {entry.id: entry.jobs for entry in await self.client.store.workers()}
        least = sorted(self._live, key=lambda replica: loads.get(replica.worker.name, -1))
        for replica in least[: len(self._live) - wanted]:
            replica.told_s = now
            replica.worker.process.terminate()

    async def _look(self, now: float) -> None:
        """Note who is ready and who is gone."""
        if self._unready:
            for entry in await self.client.store.workers():
                if (started := self._unready.pop(entry.id, None)) is not None:
                    self.cold_starts_s.append(now - started)
        for replica in list(self._replicas):
            code = replica.worker.process.poll()
            if code is None:
                if replica.told_s is not None and now - replica.told_s > GRACE_S:
                    self.killed += 1
                    replica.worker.process.kill()
                continue
            # One that is told before it listens is ended by the signal itself and holds no job.
            expected = (0, -signal.SIGTERM, -signal.SIGKILL)
            assert code in expected, f"{replica.worker.name} ended with {code}"
            assert replica.told_s is not None, f"{replica.worker.name} ended by itself"
            self._replicas.remove(replica)
            self._unready.pop(replica.worker.name, None)
            self.outcome.worker_s += now - replica.started_s
            if code == 0:
                self.drains_s.append(now - replica.told_s)

    async def _account(self, load: Sequence[Order]) -> None:
        """Take latencies from the store's clock; no job may be lost, none may have died."""
        for i, order in enumerate(load):
            record = await self.client.ended(f"job{i}", 1.0)
            assert record.status is JobStatus.SUCCEEDED, record
            assert record.deaths == 0, record
            assert record.finished_at is not None
            self.outcome.latency.append((order, record.finished_at - record.created_at))
            self.outcome.drained += record.attempts - 1
            self.repeated_units += record.evaluations - order.units
