"""A worker's inside on a real store, whose rings are answered by threads of the test."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from jobs.catalogue import resolve, units
from jobs.redis.store import RedisStore
from jobs.schema import PUBLIC, JobRecord, JobRequest
from tests.faults.client import until, until_record
from workers.host import WorkerHost


@dataclass
class Inside:
    """A host whose rings are answered by threads of the test."""

    host: WorkerHost
    store: RedisStore
    threads: ThreadPoolExecutor

    async def submit(self, job_id: str, **fields: object) -> None:
        """Store a job and have its ring answered."""
        await self.create(job_id, **fields)
        self.threads.submit(self.host.answer, job_id)

    async def create(self, job_id: str, **fields: object) -> None:
        """Store a job whose ring nobody answers."""
        (model,) = await until("the model", self.store.models)
        values = {"prompt": "a red apple", "seed": 5} | fields
        tenant = str(values.pop("tenant", PUBLIC))
        spec = resolve(JobRequest.model_validate(values), model, tenant)
        await self.store.create(job_id, spec, units(spec, model))

    async def ended(self, job_id: str) -> JobRecord:
        """Return the job once it has ended."""
        return await self.seen(f"the end of {job_id}", job_id, lambda r: r.status.ended)

    async def moving(self, job_id: str, step: int = 3) -> None:
        """Wait until the job is under way."""
        await self.seen(f"{job_id} at step {step}", job_id, lambda record: record.step >= step)

    async def seen(self, what: str, job_id: str, wanted: Callable[[JobRecord], bool]) -> JobRecord:
        """Return the job's record once it is as wanted."""
        return await until_record(self.store, what, job_id, wanted)
