"""The store in memory: the contract without Redis, for one process and for tests.

Every transition is plain code without an ``await`` in it, so on one event loop it is atomic.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence

from jobs.catalogue import ModelEntry
from jobs.errors import (
    DurabilityUnsupported,
    IdempotencyConflict,
    JobNotFound,
    ResultExpired,
    StoreFull,
)
from jobs.events import RECHECK_S, parse_id
from jobs.latency import Latency, latencies
from jobs.memory_admission import admit
from jobs.memory_claims import MemoryClaims
from jobs.memory_job import MemoryJob
from jobs.memory_life import MemoryLife
from jobs.memory_outbox import MemoryOutbox
from jobs.memory_upkeep import forgive_silence, sweep
from jobs.schema import Durable, JobError, JobRecord, JobSpec, JobStatus
from jobs.settings import JobsSettings
from jobs.store import (
    WORKER_TTL_S,
    Backlog,
    Checkpoint,
    Claim,
    Created,
    Event,
    FinishedImage,
    Idempotency,
    JobPage,
    Lease,
    Preview,
    Progress,
    QueuePosition,
    Renewal,
    RequeueReason,
    Swept,
    Totals,
    WorkerEntry,
    parse_cursor,
)
from jobs.webhook import Webhook, WebhookState


class MemoryStore:
    """A :class:`jobs.store.JobStore` in memory. ``clock`` gives seconds since 1970."""

    def __init__(self, settings: JobsSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._life = MemoryLife(settings, clock)
        self._claims = MemoryClaims(self._life)
        self._models: dict[str, ModelEntry] = {}
        self._workers: dict[str, tuple[WorkerEntry, float]] = {}
        self._created = self._seq = 0
        self.tenants = self._life.tenants
        self.outbox = MemoryOutbox(self._life.jobs.values, clock)

    # Clients -------------------------------------------------------------------------------

    async def create(
        self,
        job_id: str,
        spec: JobSpec,
        units: float,
        *,
        idempotency: Idempotency | None = None,
        traceparent: str | None = None,
        webhook: Webhook | None = None,
        durable: Durable | None = None,
    ) -> Created:
        """Store a new job as ``queued``."""
        if (durable or self._settings.durable) == "strict":
            raise DurabilityUnsupported("the store is this process' memory")
        if self._memory_bytes() > self._settings.memory_high_water_bytes:
            raise StoreFull
        if job_id in self._life.jobs:
            return Created(self._life.jobs[job_id].record(), replayed=False)
        now = self._clock()
        if idempotency is not None:
            key = spec.tenant, idempotency.key
            fingerprint, known, until = self._life.keys.get(key, ("", "", 0.0))
            if until > now:
                if fingerprint != idempotency.fingerprint:
                    raise IdempotencyConflict
                if known in self._life.jobs:
                    return Created(self._life.jobs[known].record(), replayed=True)
        self._seq += 1
        expires = None if spec.deadline_s is None else now + spec.deadline_s
        due = now + self._settings.patience_s if expires is None else expires
        job = MemoryJob(job_id, spec, units, self._seq, now, now, expires, due, traceparent)
        workers = [worker for worker, _ in self._workers.values()]
        backlog = await self.backlog(spec.model)
        admit(self._life, self._settings, workers, job, backlog.units)
        if webhook is not None:
            job.webhook, job.webhook_state = webhook, WebhookState.WAITING
        if idempotency is not None:
            until = now + self._settings.idempotency_ttl_s
            self._life.keys[spec.tenant, idempotency.key] = (idempotency.fingerprint, job_id, until)
        self._created += 1
        self._life.add(job)
        return Created(job.record(), replayed=False)

    def _memory_bytes(self) -> int:
        return sum(job.memory_bytes for job in self._life.jobs.values())

    async def get(self, job_id: str) -> JobRecord:
        """Return the job."""
        return self._life.job(job_id).record()

    async def owner(self, job_id: str) -> str:
        """Return the job's tenant."""
        return (await self.get(job_id)).spec.tenant

    async def list(
        self,
        *,
        tenant: str | None = None,
        status: JobStatus | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> JobPage:
        """Return a page of jobs, newest first."""
        below = self._seq + 1 if cursor is None else parse_cursor(cursor)
        found = sorted(
            (
                j
                for j in self._life.jobs.values()
                if j.seq < below and tenant in (None, j.spec.tenant) and status in (None, j.status)
            ),
            key=lambda job: -job.seq,
        )[:limit]
        return JobPage(
            tuple(job.record() for job in found),
            str(found[-1].seq) if len(found) == limit else None,
        )

    async def queue_position(self, record: JobRecord) -> QueuePosition | None:
        """Return a queued job's place, an estimate where several tenants wait."""
        job = self._life.jobs.get(record.id)
        if job is None or job.status is not JobStatus.QUEUED:
            return None
        jobs, units = self._life.order(job.spec.model).ahead(job)
        return QueuePosition(jobs + 1, units)

    async def cancel(self, job_id: str) -> JobRecord:
        """End the job as ``canceled`` at once."""
        job = self._life.job(job_id)
        if not job.status.ended:
            self._life.finish(job, JobStatus.CANCELED)
        return job.record()

    async def delete(self, job_id: str) -> None:
        """Cancel if need be, then forget the job."""
        await self.cancel(job_id)
        self._life.forget(job_id)
        self._life.wake()

    async def purge(self, tenant: str, limit: int) -> int:
        """Delete at most so many of a tenant's jobs."""
        theirs = [job for job in self._life.jobs.values() if job.spec.tenant == tenant]
        oldest = sorted(theirs, key=lambda job: job.seq)[:limit]
        for job in oldest:
            await self.delete(job.id)
        return len(oldest)

    # Workers -------------------------------------------------------------------------------

    async def claim(self, model: str, worker: str, *, idle: bool) -> Claim | None:
        """Hand the next waiting job of this model to the worker."""
        return self._claims.claim(self._settings, self._clock(), model, worker, idle=idle)

    async def renew(self, leases: Sequence[Lease], *, parkable: int | None = None) -> Renewal:
        """Prolong all leases in one call."""
        now = self._clock()
        forgive_silence(self._life, self._settings, now)
        held = [lease for lease in leases if self._life.holds(lease)]
        for lease in held:
            self._life.jobs[lease.job_id].lease_until = now + self._settings.lease_s
        called = None
        if held and parkable is not None:
            called = self._claims.called(self._settings, now, held[-1].model, parkable)
        return Renewal(frozenset(lease.job_id for lease in leases if lease not in held), called)

    async def progress(self, updates: Sequence[Progress]) -> frozenset[str]:
        """Record and publish progress in one call."""
        lost = set()
        for update in updates:
            if not self._life.holds(update.lease):
                lost.add(update.lease.job_id)
                continue
            job = self._life.jobs[update.lease.job_id]
            job.step, job.units_done = update.step, update.units_done
            job.evaluations = job.evaluations_before + update.evaluations
            eta_s = None if update.eta_s is None else round(update.eta_s, 2)
            self._life.emit(job, "progress", step=update.step, eta_s=eta_s)
        return frozenset(lost)

    async def preview(self, previews: Sequence[Preview]) -> frozenset[str]:
        """Publish previews in one call."""
        lost = set()
        for p in previews:
            if not self._life.holds(p.lease):
                lost.add(p.lease.job_id)
                continue
            job = self._life.jobs[p.lease.job_id]
            event = self._life.emit(
                job, "preview", image=p.image, step=p.step, content_type=p.content_type,
                data=p.data,
            )  # fmt: skip
            job.preview_step = p.step
            job.previews.append(event)
            if len(job.previews) > self._settings.previews_kept:
                job.events.remove(job.previews.popleft())
        return frozenset(lost)

    async def checkpoint(self, lease: Lease, checkpoints: Sequence[Checkpoint]) -> None:
        """Replace the pictures' checkpoints."""
        job = self._life.held(lease)
        for checkpoint in checkpoints:
            job.checkpoints[checkpoint.image] = checkpoint
        job.deaths = 0

    async def add_image(self, lease: Lease, image: FinishedImage) -> None:
        """Store one finished picture."""
        job = self._life.held(lease)
        job.images.setdefault(image.record.index, image)
        job.checkpoints.pop(image.record.index, None)
        job.deaths = 0

    async def finish(self, lease: Lease, evaluations: int) -> JobRecord:
        """End the job as ``succeeded``."""
        job = self._life.held(lease)
        job.step = job.spec.num_inference_steps * job.spec.num_images
        job.units_done = job.units
        job.evaluations = job.evaluations_before + evaluations
        self._life.finish(job, JobStatus.SUCCEEDED)
        return job.record()

    async def fail(self, lease: Lease, error: JobError) -> JobRecord:
        """End the job as ``failed`` with the reason."""
        job = self._life.held(lease)
        self._life.finish(job, JobStatus.FAILED, error)
        return job.record()

    async def requeue(self, lease: Lease, reason: RequeueReason) -> JobRecord:
        """Give the job back with its checkpoints."""
        job = self._life.held(lease)
        self._life.enqueue(job)
        return job.record()

    # Anyone --------------------------------------------------------------------------------

    async def sweep(self) -> Swept:
        """Requeue, expire, bound."""
        return sweep(self._life, self._settings, self._clock())

    async def image(self, job_id: str, index: int) -> FinishedImage:
        """Return a finished picture."""
        job = self._life.job(job_id)
        image = job.images.get(index)
        if image is None:
            raise JobNotFound(f"{job_id}/images/{index}")
        if job.results_dropped:
            raise ResultExpired(f"picture {index} of job {job_id} is past its time to live")
        return image

    async def latest_preview(self, job_id: str) -> tuple[str, bytes] | None:
        """Return the newest preview."""
        job = self._life.job(job_id)
        if not job.previews:
            return None
        data = job.previews[-1].data
        return data["content_type"], data["data"]

    async def events(self, job_id: str, after: str | None = None) -> AsyncIterator[Event]:
        """Yield the job's events after an id, until its result."""
        seen = _order(parse_id(after))
        self._life.job(job_id)
        while True:
            job = self._life.jobs.get(job_id)
            if job is None:
                return
            fresh = [event for event in job.events if _order(event.id) > seen]
            for event in fresh:
                seen = _order(event.id)
                yield event
                if event.kind == "result":
                    return
            if not fresh:
                if job.status.ended:
                    return
                await self._next_change()

    async def _next_change(self) -> None:
        try:
            async with asyncio.timeout(RECHECK_S), self._life.changed:
                await self._life.changed.wait()
        except TimeoutError:
            return

    async def announce_model(self, model: ModelEntry) -> None:
        """Put a model into the catalogue."""
        self._models[model.name] = model

    async def forget_model(self, name: str) -> None:
        """Take a model out of the catalogue."""
        self._models.pop(name, None)

    async def models(self) -> tuple[ModelEntry, ...]:
        """Return the catalogue, by name."""
        return tuple(self._models[name] for name in sorted(self._models))

    async def announce_worker(self, worker: WorkerEntry) -> None:
        """Announce or refresh a live worker."""
        self._workers[worker.id] = (worker, self._clock() + WORKER_TTL_S)

    async def retire_worker(self, worker_id: str) -> None:
        """Forget a worker that stops."""
        self._workers.pop(worker_id, None)

    async def workers(self) -> tuple[WorkerEntry, ...]:
        """Return the live workers; those that fell silent are forgotten."""
        now = self._clock()
        self._workers = {k: v for k, v in self._workers.items() if v[1] > now}
        return tuple(self._workers[name][0] for name in sorted(self._workers))

    async def backlog(self, model: str) -> Backlog:
        """Return the model's remaining work."""
        pending, running = (
            [job.remaining for job in self._life.of(model, status)]
            for status in (JobStatus.QUEUED, JobStatus.RUNNING)
        )
        return Backlog(len(pending), len(running), sum(pending), sum(running))

    async def totals(self) -> Totals:
        """Return the counters for metrics."""
        return Totals(
            dict(self._life.ended),
            dict(self._life.failures),
            self._created,
            self._life.reaped,
            self._life.results_bytes,
            self._memory_bytes(),
        )

    async def latencies(self, model: str) -> tuple[Latency, ...]:
        """Return how long the model's jobs took, by outcome."""
        return latencies(self._life.latency.get(model, {}))

    async def ping(self) -> None:
        """Answer: memory is always there."""

    async def close(self) -> None:
        """Wait for listeners to have been told."""
        await self._life.settle()


def _order(event_id: str) -> tuple[int, int]:
    milliseconds, _, number = event_id.partition("-")
    return int(milliseconds), int(number)
