"""A worker's inside on a real store, whose rings are answered by threads of the test."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from jobs.catalogue import resolve, units
from jobs.redis_store import RedisStore
from jobs.schema import JobRecord, JobRequest
from tests.faults.client import until
from workers.host import WorkerHost


@dataclass
class Inside:
    """A host whose rings are answered by threads of the test."""

    host: WorkerHost
    store: RedisStore
    threads: ThreadPoolExecutor

    async def submit(self, job_id: str, **fields: object) -> None:
        """Store a job and have its ring answered."""
        (model,) = await until("the model", self.store.models)
        values = {"prompt": "a red apple", "seed": 5} | fields
        spec = resolve(JobRequest.model_validate(values), model)
        await self.store.create(job_id, spec, units(spec, model))
        self.threads.submit(self.host.answer, job_id)

    async def ended(self, job_id: str) -> JobRecord:
        """Return the job once it has ended."""

        async def look() -> JobRecord | None:
            record = await self.store.get(job_id)
            return record if record.status.ended else None

        return await until(f"the end of {job_id}", look)

    async def moving(self, job_id: str, step: int = 3) -> None:
        """Wait until the job is under way."""

        async def look() -> bool:
            return (await self.store.get(job_id)).step >= step

        await until(f"{job_id} at step {step}", look)
