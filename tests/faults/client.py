"""A client of the job store that waits out its outages."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from time import monotonic
from typing import TypeVar

from jobs.catalogue import ModelEntry, resolve, units
from jobs.errors import StoreUnavailable
from jobs.queue import Doorbell
from jobs.redis.store import RedisStore
from jobs.schema import JobRecord, JobRequest, JobStatus
from jobs.settings import JobsSettings
from jobs.store import JobStore
from tests.processes import PATIENCE_S

T = TypeVar("T")


async def until(
    what: str,
    probe: Callable[[], Awaitable[T | None]],
    timeout_s: float = PATIENCE_S,
    seen: Callable[[], object] | None = None,
) -> T:
    """Return the probe's first truthy answer; an outage of the store is waited out.

    The error after ``timeout_s`` names what was ``seen`` last, or the last answer.
    """
    deadline, last = monotonic() + timeout_s, "nothing"
    while monotonic() < deadline:
        try:
            if answer := await probe():
                return answer
            last = repr(answer)
        except StoreUnavailable as error:
            last = repr(error)
        await asyncio.sleep(0.02)
    raise AssertionError(f"not within {timeout_s} s: {what}; last: {seen() if seen else last}")


async def until_record(
    store: JobStore,
    what: str,
    job_id: str,
    wanted: Callable[[JobRecord], bool],
    timeout_s: float = PATIENCE_S,
) -> JobRecord:
    """Return the job's record once it is as wanted."""
    last: list[JobRecord] = []

    async def look() -> JobRecord | None:
        last[:] = [await store.get(job_id)]
        return last[0] if wanted(last[0]) else None

    return await until(what, look, timeout_s, seen=lambda: last)


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
        wanted, live = set(names), set[str]()

        async def all_there() -> bool:
            live.clear()
            live.update(worker.id for worker in await self.store.workers())
            return wanted <= live

        await until(f"workers {wanted}", all_there, seen=lambda: live)

    async def submit(self, job_id: str, **fields: object) -> JobRecord:
        """Store a job and ring."""
        model = await self.model()
        fields = {"prompt": "a red apple", "seed": 5, "preview": 0} | fields
        spec = resolve(JobRequest.model_validate(fields), model)
        created = await self.store.create(job_id, spec, units(spec, model))
        await self.bell.ring(model.name, job_id)
        return created.record

    async def submit_many(
        self, count: int, steps: int | Callable[[], int], prefix: str = "job"
    ) -> list[str]:
        """Submit jobs of so many steps each; return their ids."""
        names = [f"{prefix}{i}" for i in range(count)]
        for name in names:
            await self.submit(
                name, num_inference_steps=steps if isinstance(steps, int) else steps()
            )
        return names

    async def ended(self, job_id: str, timeout_s: float = PATIENCE_S) -> JobRecord:
        """Return the job once it has ended."""
        return await self.seen(
            f"the end of {job_id}", job_id, lambda record: record.status.ended, timeout_s
        )

    async def seen(
        self,
        what: str,
        job_id: str,
        wanted: Callable[[JobRecord], bool],
        timeout_s: float = PATIENCE_S,
    ) -> JobRecord:
        """Return the job's record once it is as wanted."""
        return await until_record(self.store, what, job_id, wanted, timeout_s)

    async def count_ended(self) -> int:
        """Return how many jobs have ended, in whatever way."""
        return sum((await self.store.totals()).ended.values())

    async def all_ended(self, count: int, timeout_s: float) -> None:
        """Wait until so many jobs have ended."""
        ended = 0

        async def look() -> bool:
            nonlocal ended
            await asyncio.sleep(0.1)
            ended = await self.count_ended()
            return ended >= count

        await until(f"{count} jobs to end", look, timeout_s, seen=lambda: ended)

    async def while_running(self, jobs: int, times: int) -> AsyncIterator[int]:
        """Yield so many times, evenly over the ends of the jobs; return once all have ended."""
        for time in range(times):
            await self.all_ended(jobs * (2 * time + 1) // (2 * times + 1), 600)
            yield time
        await self.all_ended(jobs, 600)

    async def at_step(self, job_id: str, step: int) -> JobRecord:
        """Return the job once so many steps are published."""

        def there(record: JobRecord) -> bool:
            assert not record.status.ended, record
            return record.step >= step

        return await self.seen(f"{job_id} at step {step}", job_id, there)

    async def held_by(self, worker: str) -> list[JobRecord]:
        """Return the jobs that this worker runs, as the store sees it."""
        page = await self.store.list(status=JobStatus.RUNNING, limit=200)
        return [record for record in page.records if record.worker == worker]

    async def emptied(self, worker: str) -> None:
        """Wait until the store knows no job that this worker runs."""

        async def empty() -> bool:
            return not await self.held_by(worker)

        await until(f"{worker} to be empty", empty)

    async def picture(self, job_id: str) -> bytes:
        """Return the job's first picture; the job has to succeed."""
        record = await self.ended(job_id)
        assert record.status is JobStatus.SUCCEEDED, record.error
        return (await self.store.image(job_id, 0)).data

    async def close(self) -> None:
        """Release connections."""
        await self.store.close()
        self.bell.close()
