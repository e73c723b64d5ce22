"""Real worker processes and real Redis servers that tests may kill."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic
from typing import TypeVar

from jobs.catalogue import ModelEntry, resolve, units
from jobs.errors import StoreUnavailable
from jobs.queue import Doorbell
from jobs.redis_store import RedisStore
from jobs.schema import JobRecord, JobRequest, JobStatus
from jobs.settings import JobsSettings
from service.redis_server import redis_command, wait_ready

T = TypeVar("T")


async def until(what: str, probe: Callable[[], Awaitable[T | None]], timeout_s: float = 60.0) -> T:
    """Return the probe's first truthy answer."""
    deadline = monotonic() + timeout_s
    while monotonic() < deadline:
        answer = await probe()
        if answer:
            return answer
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {timeout_s} s: {what}")


class Worker:
    """A Celery worker in a process of its own."""

    def __init__(
        self, settings: JobsSettings, model: Path, name: str, log: Path, **env: object
    ) -> None:
        self.name = name
        self.log = log
        variables = {
            "SFUMATO_REDIS_URL": settings.redis_url,
            "SFUMATO_KEY_PREFIX": settings.key_prefix,
            "SFUMATO_LEASE_S": str(settings.lease_s),
            "SFUMATO_MODEL": str(model),
            "SFUMATO_WORKER_ID": name,
            "SFUMATO_THREADS": "1",
            "SFUMATO_SLOTS": "8",
            "SFUMATO_ROWS_PER_TICK": "8",
            "SFUMATO_DETERMINISTIC": "1",
            "OMP_NUM_THREADS": "1",
        } | {f"SFUMATO_{key.upper()}": str(value) for key, value in env.items()}
        command = [sys.executable, "-m", "celery", "-q", "-A", "workers.app", "worker"]
        command += ["-P", "threads", "-n", f"{name}@test"]
        with log.open("ab") as out:
            self.process = subprocess.Popen(
                command, env=os.environ | variables, stdout=out, stderr=out
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    def kill(self) -> None:
        """Kill it as a machine failure would."""
        self.process.kill()
        self.process.wait()

    def stop(self, timeout_s: float = 20.0) -> int:
        """Send SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def end(self) -> None:
        """End it, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class RedisProcess:
    """A Redis server with its files in a folder, on a port it keeps over restarts."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it and wait until it has loaded its files."""
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                redis_command(self.folder, self.port), stdout=log, stderr=log
            )
        wait_ready(self.port)

    def kill(self) -> None:
        """Kill it with -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class Client:
    """Submits jobs and waits for them, as the door does, without HTTP."""

    def __init__(self, settings: JobsSettings) -> None:
        self.store = RedisStore(settings)
        self.bell = Doorbell(settings)

    async def model(self) -> ModelEntry:
        """Return the model once a worker has announced it."""
        return (await until("a model", self.store.models))[0]

    async def workers(self, names: set[str]) -> None:
        """Wait until these workers have announced themselves."""

        async def live() -> bool:
            return names <= {worker.id for worker in await self.store.workers()}

        await until(f"workers {names}", live)

    async def submit(self, job_id: str, **fields: object) -> JobRecord:
        """Store a job and ring."""
        model = await self.model()
        fields = {"prompt": "a red apple", "seed": 5, "preview": 0} | fields
        spec = resolve(JobRequest.model_validate(fields), model)
        created = await self.store.create(job_id, spec, units(spec, model))
        await self.bell.ring(model.name, job_id)
        return created.record

    async def ended(self, job_id: str, timeout_s: float = 60.0) -> JobRecord:
        """Return the job once it has ended; an outage of Redis is waited out."""

        async def look() -> JobRecord | None:
            try:
                record = await self.store.get(job_id)
            except StoreUnavailable:
                return None
            return record if record.status.ended else None

        return await until(f"the end of {job_id}", look, timeout_s)

    async def at_step(self, job_id: str, step: int) -> JobRecord:
        """Return the job once so many steps are published."""

        async def look() -> JobRecord | None:
            record = await self.store.get(job_id)
            assert not record.status.ended, record
            return record if record.step >= step else None

        return await until(f"{job_id} at step {step}", look)

    async def picture(self, job_id: str) -> bytes:
        """Return the job's first picture; the job has to succeed."""
        record = await self.ended(job_id)
        assert record.status is JobStatus.SUCCEEDED, record.error
        return (await self.store.image(job_id, 0)).data

    async def close(self) -> None:
        """Release connections."""
        await self.store.close()
        self.bell.close()
