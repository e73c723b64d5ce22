"""Workers under Ray, in a process of their own, and a client that watches them come and go."""

import asyncio
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from time import monotonic

from jobs.scaling import ScalingSignal, read_signal
from jobs.schema import JobRecord, JobStatus
from jobs.settings import JobsSettings
from jobs.store import WorkerEntry
from tests.faults.client import Client, until
from tests.stack.up import MARK, marked

MODEL_NAME = "tiny"
PATIENCE_S = 120.0


class ScaledWorkers:
    """``python -m service.serve_workers`` on a tiny model, every process of it marked."""

    def __init__(self, settings: JobsSettings, model: Path, folder: Path, **env: object) -> None:
        self.mark = uuid.uuid4().hex
        variables = {
            MARK: self.mark,
            "SFUMATO_REDIS_URL": settings.redis_url,
            "SFUMATO_KEY_PREFIX": settings.key_prefix,
            "SFUMATO_MODEL": str(model),
            "SFUMATO_MODEL_NAME": MODEL_NAME,
            "SFUMATO_RAY_NUM_CPUS": "0.1",
            "SFUMATO_THREADS": "1",
            "SFUMATO_SLOTS": "4",
            "SFUMATO_ROWS_PER_TICK": "8",
            "SFUMATO_LOG_FORMAT": "json",
            "OMP_NUM_THREADS": "1",
        } | {f"SFUMATO_{key.upper()}": str(value) for key, value in env.items()}
        self.log = folder / "scaled.log"
        command = [sys.executable, "-m", "service.serve_workers", "--data", str(folder / "ray")]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=os.environ | variables, stdout=log, stderr=log
            )

    async def ready(self) -> None:
        """Wait until Serve looks after the workers."""

        async def said() -> bool:
            assert self.process.poll() is None, self.story()
            return b"ready workers" in self.log.read_bytes()

        await until("ready workers", said, PATIENCE_S)

    def stop(self, timeout_s: float = 60.0) -> int:
        """Send SIGTERM and return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def processes(self) -> dict[int, str]:
        """Return all live processes that it started."""
        return {pid: line for pid, line in marked(self.mark).items() if pid != self.process.pid}

    def end(self) -> None:
        """End everything, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)

    def story(self) -> str:
        """Return the end of its log."""
        return self.log.read_text(errors="replace")[-6000:]


class Watch:
    """Notes when the number of live workers changes."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.began = monotonic()
        self.seen: list[tuple[float, int]] = []  # seconds since the start, live workers
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
        """Return the seconds that pass from now until there are so many live workers."""
        asked = self.now

        async def there() -> bool:
            return self.seen[-1:] != [] and self.seen[-1][1] == count

        await until(f"{count} workers, after {self.seen}", there, PATIENCE_S)
        return self.now - asked

    async def close(self) -> None:
        """Stop watching."""
        self._task.cancel()
        await asyncio.wait([self._task])


async def signal_of(client: Client) -> ScalingSignal:
    """Return the model's signal once there is one."""

    async def read() -> ScalingSignal | None:
        return await read_signal(client.store, MODEL_NAME)

    return await until("the signal", read)


async def give_load(client: Client, prefix: str, seconds: float, jobs: int) -> list[str]:
    """Submit jobs that one worker would need so many seconds for; return their ids."""
    speed = (await signal_of(client)).units_per_s
    steps = max(10, min(1000, round(speed * seconds / jobs / 2)))  # a guided step is two units
    names = [f"{prefix}{number}" for number in range(jobs)]
    for name in names:
        await client.submit(name, num_inference_steps=steps, sampler="euler")
    return names


async def all_succeeded(client: Client, names: list[str]) -> list[JobRecord]:
    """Return the jobs once all have ended, every one of them with its pictures."""
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
