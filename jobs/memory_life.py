"""Jobs in memory, and what moves them from one status to the next."""

import asyncio
from collections.abc import Callable
from typing import Any

from jobs.errors import JobNotFound, StaleFence
from jobs.fair_order import FairOrder
from jobs.latency import bound_of, traced_id
from jobs.memory_job import MemoryJob
from jobs.memory_outbox import post
from jobs.memory_tenants import MemoryTenants
from jobs.schema import FAILURE_CODES, JobError, JobStatus
from jobs.settings import JobsSettings
from jobs.store import Event, Lease


class MemoryLife:
    """All jobs of a store in memory. Every transition tells the job's listeners."""

    def __init__(self, settings: JobsSettings, clock: Callable[[], float]) -> None:
        self._settings = settings
        self._clock = clock
        self._orders: dict[str, FairOrder] = {}
        self._events = 0
        self._wakes: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Condition()
        self.jobs: dict[str, MemoryJob] = {}
        # (tenant, key) → fingerprint, job id, until
        self.keys: dict[tuple[str, str], tuple[str, str, float]] = {}
        self.tenants = MemoryTenants(self.jobs.values, settings)
        self.ended: dict[str, int] = {s.value: 0 for s in JobStatus if s.ended}
        self.failures = dict.fromkeys(FAILURE_CODES, 0)
        self.latency: dict[str, dict[str, str]] = {}  # by model, as jobs/latency.py reads it
        self.reaped = 0
        self.seen = clock()  # when somebody last renewed or swept

    @property
    def results_bytes(self) -> int:
        """Bytes of all pictures."""
        return sum(job.size_bytes for job in self.jobs.values())

    def job(self, job_id: str) -> MemoryJob:
        """Return the job. Raises: JobNotFound."""
        job = self.jobs.get(job_id)
        if job is None:
            raise JobNotFound(job_id)
        return job

    def holds(self, lease: Lease) -> bool:
        """Whether the lease is good."""
        job = self.jobs.get(lease.job_id)
        return job is not None and job.status is JobStatus.RUNNING and job.fence == lease.fence

    def held(self, lease: Lease) -> MemoryJob:
        """Return the job of a lease. Raises: StaleFence."""
        if not self.holds(lease):
            raise StaleFence(lease.job_id)
        return self.jobs[lease.job_id]

    def of(self, model: str, status: JobStatus) -> list[MemoryJob]:
        """Return a model's jobs of one status."""
        return [j for j in self.jobs.values() if j.status is status and j.spec.model == model]

    def order(self, model: str) -> FairOrder:
        """Return the order in which a model's jobs are claimed."""
        if model not in self._orders:
            self._orders[model] = FairOrder(self.tenants.weight)
        return self._orders[model]

    def emit(self, job: MemoryJob, kind: str, **data: Any) -> Event:
        """Add a line to a job's history."""
        self._events += 1
        event_id = f"{int(1000 * self._clock())}-{self._events}"
        event = job.emit(event_id, kind, self._settings.events_kept, data)
        self.wake()
        return event

    def wake(self) -> None:
        """Let everyone who waits for an event look again."""

        async def notify() -> None:
            async with self.changed:
                self.changed.notify_all()

        task = asyncio.get_running_loop().create_task(notify())
        self._wakes.add(task)
        task.add_done_callback(self._wakes.discard)

    async def settle(self) -> None:
        """Wait until all who were to be told have been."""
        await asyncio.gather(*self._wakes)

    def add(self, job: MemoryJob) -> None:
        """Take a new job on."""
        self.jobs[job.id] = job
        self.order(job.spec.model).line_up(job)
        self.emit(job, "status")

    def forget(self, job_id: str) -> None:
        """Leave nothing of a job, and let its key be used again."""
        del self.jobs[job_id]
        self.keys = {key: kept for key, kept in self.keys.items() if kept[1] != job_id}

    def take_out(self, job: MemoryJob) -> None:
        """Take a job out of its line, or from its worker."""
        if job.status is JobStatus.QUEUED:
            self.order(job.spec.model).fall_out(job)
        elif job.status is JobStatus.RUNNING:
            job.running_s += max(0.0, self._clock() - job.claimed_at)
            job.evaluations_before = job.evaluations
            self.order(job.spec.model).give_back(job)
        job.fence = ""

    def enqueue(self, job: MemoryJob) -> None:
        """Put an interrupted job back in line."""
        self.take_out(job)
        job.status, job.fresh, job.queued_at = JobStatus.QUEUED, False, self._clock()
        self.order(job.spec.model).line_up(job)
        self.emit(job, "status")

    def finish(self, job: MemoryJob, status: JobStatus, error: JobError | None = None) -> None:
        """End a job."""
        self.take_out(job)
        job.status, job.finished_at, job.error = status, self._clock(), error
        if status is not JobStatus.SUCCEEDED and job.images:
            job.results_dropped = True
        job.checkpoints.clear()
        self.ended[status.value] += 1
        if error is not None:
            self.failures[error.code] = self.failures.get(error.code, 0) + 1
        self._count_latency(job, status.value)
        post(job, job.finished_at, status)
        self.emit(job, "result")

    def _count_latency(self, job: MemoryJob, outcome: str) -> None:
        seconds = max(0.0, (job.finished_at or job.created_at) - job.created_at)
        bound = bound_of(seconds)
        kept = self.latency.setdefault(job.spec.model, {})
        for name, more in ((f"{outcome}:le:{bound}", 1), (f"{outcome}:sum", seconds)):
            kept[name] = repr(type(more)(kept.get(name, 0)) + more)
        if (trace_id := traced_id(job.traceparent)) is not None:
            kept[f"{outcome}:exemplar:{bound}"] = f"{trace_id} {seconds} {job.finished_at}"
