"""Workers under Ray, in a process of their own, and a client that watches them come and go."""

import asyncio
from math import ceil
from pathlib import Path
from time import monotonic

from jobs.cancelling import end
from jobs.fleet import WorkerEntry
from jobs.scaling import ScalingSignal, read_signal
from jobs.schema import MAX_STEPS, JobRecord, JobStatus
from jobs.settings import JobsSettings
from tests.faults.client import Client, until
from tests.stack.up import Up

MODEL_NAME = "tiny"
PATIENCE_S = 300.0


def scaled_up(data: Path, model: Path, most: int, settings: JobsSettings, **env: object) -> Up:
    """Start a stack whose workers Ray starts and stops, on a Redis that the test sees too."""
    variables: dict[str, object] = {
        "redis_url": settings.redis_url,
        "key_prefix": settings.key_prefix,
        "model_name": MODEL_NAME,
        "ray_num_cpus": 0.1,
        "rows_per_tick": 8,
        "threads": 1,
    }
    options = ("--door", "uvicorn", "--autoscale", str(most), "--slots", "4")
    return Up(data, model, *options, **(variables | env))


class Watch:
    """Notes when the number of live workers changes."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.began = monotonic()
        self.seen: list[tuple[float, int]] = []  # seconds since the start, live workers
        self._reached = 0  # place in ``seen`` of the number that was waited for last
        self._task = asyncio.create_task(self._run())

    @property
    def counts(self) -> list[int]:
        """The numbers of live workers, in order."""
        return [count for _, count in self.seen]

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return monotonic() - self.began

    async def _run(self) -> None:
        while True:
            count = len(await self.client.store.workers())
            if not self.seen or self.seen[-1][1] != count:
                self.seen.append((round(self.now, 2), count))
            await asyncio.sleep(0.05)

    async def reach(self, count: int) -> float:
        """Return the seconds from now until there are, or have been meanwhile, so many workers.

        Fewer count too where there have been more: two may leave between two looks.
        """
        asked = self.now
        falling = bool(self.counts) and self.counts[self._reached] > count

        async def there() -> bool:
            if self._task.done():
                self._task.result()
            return any(map(enough, self.counts[self._reached :]))

        def enough(seen: int) -> bool:
            return seen <= count if falling else seen == count

        await until(f"{count} workers", there, PATIENCE_S, seen=lambda: self.seen)
        self._reached += [enough(seen) for seen in self.counts[self._reached :]].index(True)
        return self.now - asked

    async def close(self) -> None:
        """Stop watching."""
        await end(self._task)


async def signal_of(client: Client) -> ScalingSignal:
    """Return the model's signal once there is one."""

    async def read() -> ScalingSignal | None:
        return await read_signal(client.store, MODEL_NAME)

    return await until("the signal", read)


async def give_load(client: Client, prefix: str, seconds: float, jobs: int) -> list[str]:
    """Submit at least so many jobs that one worker needs so many seconds for; return their ids."""
    steps_in_all = (await signal_of(client)).units_per_s * seconds / 2  # a guided step is two units
    jobs = max(jobs, ceil(steps_in_all / MAX_STEPS))
    steps = max(10, round(steps_in_all / jobs))
    names = [f"{prefix}{number}" for number in range(jobs)]
    for name in names:
        await client.submit(name, num_inference_steps=steps, sampler="euler")
    return names


async def all_succeeded(client: Client, names: list[str]) -> list[JobRecord]:
    """Return the jobs once all have ended, each with its image."""
    records = [await client.ended(name, PATIENCE_S) for name in names]
    for record in records:
        assert record.status is JobStatus.SUCCEEDED, record
        assert len(record.images) == 1, record
    return records


def actor_of(worker: WorkerEntry) -> int:
    """Return the process of Ray's actor that started this worker: its keeper's parent."""
    return _parent(_parent(worker.pid))


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
