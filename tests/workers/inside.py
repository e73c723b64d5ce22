"""A worker's inside on a real store, whose rings are answered by threads of the test."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic, sleep

from jobs.catalogue import resolve, units
from jobs.redis.store import RedisStore
from jobs.schema import PUBLIC, JobRecord, JobRequest
from tests.faults.client import until, until_record
from workers.engine.batcher import Candidate
from workers.engine.engine import Engine
from workers.host import WorkerHost
from workers.runtime.runtime import Runtime


@dataclass
class Inside:
    """A host whose rings are answered by threads of the test."""

    host: WorkerHost
    store: RedisStore
    threads: ThreadPoolExecutor

    @property
    def engine(self) -> Engine:
        """The engine of its one model."""
        (served,) = self.host.served.values()
        return served.engine

    @property
    def runtime(self) -> Runtime:
        """What claims for that engine."""
        (served,) = self.host.served.values()
        return served.runtime

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

    async def asking(self, count: int = 1) -> None:
        """Wait until so many answers want to claim a job."""
        slots = vars(self.runtime)["_slots"]

        async def look() -> bool:
            return bool(slots.claims >= count)

        await until(f"{count} claims to wait", look, seen=lambda: slots.claims)

    async def left(self) -> None:
        """Wait until the worker holds no job."""

        async def look() -> bool:
            return self.runtime.job_count == 0

        await until("an empty worker", look, seen=lambda: self.runtime.job_count)

    @contextmanager
    def held(self, *job_ids: str, rows: int = 20, pace_s: float | None = None) -> Iterator[None]:
        """Have the engine draw so many rows of each image of these jobs, and then no more.

        Whatever a test does meanwhile happens before they end, however long it takes. With a
        ``pace_s`` one more row may follow each time that it has passed.
        """
        batcher = vars(vars(self.engine)["_batcher"])
        batcher["choose"] = Held(self.engine, job_ids, rows, pace_s)
        try:
            yield
        finally:
            del batcher["choose"]


class Held:
    """An engine's choice of images, without those that have been drawn far enough."""

    def __init__(
        self, engine: Engine, job_ids: Sequence[str], rows: int, pace_s: float | None
    ) -> None:
        self._slots, self._postprocess = vars(engine)["_slots"], vars(engine)["_postprocess"]
        self._choose = vars(engine)["_batcher"].choose
        self._job_ids = job_ids
        self._rows = rows
        self._pace_s = pace_s
        self._next: dict[object, float] = {}

    def __call__(self, candidates: Iterable[Candidate]) -> Sequence[Candidate]:
        """Return the images of the next tick."""
        chosen: Sequence[Candidate]
        chosen = self._choose([each for each in candidates if not self._waits(each)])
        if not chosen:
            self._postprocess.run()  # there is no pass that it would run beside
            sleep(0.005)
        return chosen

    def _waits(self, candidate: Candidate) -> bool:
        slot = self._slots[candidate.key]
        if slot.request.job_id not in self._job_ids or slot.row < self._rows:
            return False
        if self._pace_s is None or monotonic() < self._next.get(candidate.key, 0.0):
            return True
        self._next[candidate.key] = monotonic() + self._pace_s
        return False
