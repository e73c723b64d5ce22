"""A client of the job store that outlives whatever happens to it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic
from typing import TypeVar

from jobs.catalogue import ModelEntry, resolve, units
from jobs.errors import StoreUnavailable
from jobs.queue import Doorbell
from jobs.redis_store import RedisStore
from jobs.schema import JobRecord, JobRequest, JobStatus
from jobs.settings import JobsSettings

T = TypeVar("T")


async def until(what: str, probe: Callable[[], Awaitable[T | None]], timeout_s: float = 60.0) -> T:
    """Return the probe's first truthy answer; an outage of the store is waited out."""
    deadline = monotonic() + timeout_s
    while monotonic() < deadline:
        try:
            answer = await probe()
        except StoreUnavailable:
            answer = None
        if answer:
            return answer
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {timeout_s} s: {what}")


class Client:
    """Submits jobs and waits for them, as the door does, without HTTP."""

    def __init__(self, settings: JobsSettings) -> None:
        self.store = RedisStore(settings)
        self.bell = Doorbell(settings)
        self._model: ModelEntry | None = None

    async def model(self) -> ModelEntry:
        """Return the model once a worker has announced it."""
        if self._model is None:
            self._model = (await until("a model", self.store.models))[0]
        return self._model

    async def workers(self, names: Iterable[str]) -> None:
        """Wait until these workers have announced themselves."""
        wanted = set(names)

        async def live() -> bool:
            return wanted <= {worker.id for worker in await self.store.workers()}

        await until(f"workers {wanted}", live)

    async def submit(self, job_id: str, **fields: object) -> JobRecord:
        """Store a job and ring."""
        model = await self.model()
        fields = {"prompt": "a red apple", "seed": 5, "preview": 0} | fields
        spec = resolve(JobRequest.model_validate(fields), model)
        created = await self.store.create(job_id, spec, units(spec, model))
        await self.bell.ring(model.name, job_id)
        return created.record

    async def ended(self, job_id: str, timeout_s: float = 60.0) -> JobRecord:
        """Return the job once it has ended."""

        async def look() -> JobRecord | None:
            record = await self.store.get(job_id)
            return record if record.status.ended else None

        return await until(f"the end of {job_id}", look, timeout_s)

    async def count_ended(self) -> int:
        """Return how many jobs have ended, in whatever way."""
        return sum((await self.store.totals()).ended.values())

    async def all_ended(self, count: int, timeout_s: float) -> None:
        """Wait until so many jobs have ended."""

        async def look() -> bool:
            await asyncio.sleep(0.1)
            return await self.count_ended() >= count

        await until(f"{count} jobs to end", look, timeout_s)

    async def at_step(self, job_id: str, step: int) -> JobRecord:
        """Return the job once so many steps are published."""

        async def look() -> JobRecord | None:
            record = await self.store.get(job_id)
            assert not record.status.ended, record
            return record if record.step >= step else None

        return await until(f"{job_id} at step {step}", look)

    async def held_by(self, worker: str) -> list[JobRecord]:
        """Return the jobs that this worker runs, as the store sees it."""
        page = await self.store.list(status=JobStatus.RUNNING, limit=200)
        return [record for record in page.records if record.worker == worker]

    async def picture(self, job_id: str) -> bytes:
        """Return the job's first picture; the job has to succeed."""
        record = await self.ended(job_id)
        assert record.status is JobStatus.SUCCEEDED, record.error
        return (await self.store.image(job_id, 0)).data

    async def close(self) -> None:
        """Release connections."""
        await self.store.close()
        self.bell.close()
