"""The store in memory: the contract without Redis, for one process and for tests.

Every transition is plain code without an ``await`` in it, so on one event loop it is atomic.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

from jobs.admission import full_speed, over_quota, retry_after_s
from jobs.catalogue import ModelEntry
from jobs.errors import (
    BacklogFull,
    DeadlineUnmeetable,
    DurabilityUnsupported,
    IdempotencyConflict,
    InvalidCursor,
    JobNotFound,
    ResultExpired,
    StaleFence,
    StoreFull,
)
from jobs.events import RECHECK_S, parse_id
from jobs.fair_order import FairOrder
from jobs.latency import Latency, bound_of, latencies, traced_id
from jobs.memory_job import MemoryJob
from jobs.memory_outbox import MemoryOutbox, post
from jobs.memory_tenants import MemoryTenants
from jobs.schema import FAILURE_CODES, Durable, JobError, JobRecord, JobSpec, JobStatus
from jobs.settings import JobsSettings
from jobs.store import (
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
)
from jobs.webhook import Webhook, WebhookState

WORKER_TTL_S = 5


class MemoryStore:
    """A :class:`jobs.store.JobStore` in memory. ``clock`` gives seconds since 1970."""

    def __init__(self, settings: JobsSettings, clock: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._clock = clock
        self._jobs: dict[str, MemoryJob] = {}
        # (tenant, key) → fingerprint, job id, until
        self._keys: dict[tuple[str, str], tuple[str, str, float]] = {}
        self._models: dict[str, ModelEntry] = {}
        self._making_room: dict[str, tuple[str, float]] = {}  # model → worker, until
        self._workers: dict[str, tuple[WorkerEntry, float]] = {}
        self._orders: dict[str, FairOrder] = {}
        self._calls: dict[str, list[float]] = {}  # by model, when a worker was told to park
        self.tenants = MemoryTenants(self._jobs.values, settings)
        self._ended: dict[str, int] = {s.value: 0 for s in JobStatus if s.ended}
        self._failures = dict.fromkeys(FAILURE_CODES, 0)
        self._latency: dict[str, dict[str, str]] = {}  # by model, as jobs/latency.py reads it
        self._created = self._reaped = self._seq = self._fences = self._events = 0
        self._seen = clock()
        self.outbox = MemoryOutbox(self._jobs.values, clock)
        self._changed = asyncio.Condition()
        self._wakes: set[asyncio.Task[None]] = set()

    # Helpers -------------------------------------------------------------------------------

    def _job(self, job_id: str) -> MemoryJob:
        job = self._jobs.get(job_id)
        if job is None:
            raise JobNotFound(job_id)
        return job

    def _holds(self, lease: Lease) -> bool:
        job = self._jobs.get(lease.job_id)
        return job is not None and job.status is JobStatus.RUNNING and job.fence == lease.fence

    def _held(self, lease: Lease) -> MemoryJob:
        if not self._holds(lease):
            raise StaleFence(lease.job_id)
        return self._jobs[lease.job_id]

    def _of(self, model: str, status: JobStatus) -> list[MemoryJob]:
        return [j for j in self._jobs.values() if j.status is status and j.spec.model == model]

    def _order(self, model: str) -> FairOrder:
        if model not in self._orders:
            self._orders[model] = FairOrder(self.tenants.weight)
        return self._orders[model]

    def _in_time(self, job: MemoryJob) -> bool:
        return job.expires_at is None or job.expires_at > self._clock()

    def _emit(self, job: MemoryJob, kind: str, **data: Any) -> Event:
        self._events += 1
        event_id = f"{int(1000 * self._clock())}-{self._events}"
        event = job.emit(event_id, kind, self._settings.events_kept, data)
        self._wake()
        return event

    def _wake(self) -> None:
        async def notify() -> None:
            async with self._changed:
                self._changed.notify_all()

        task = asyncio.get_running_loop().create_task(notify())
        self._wakes.add(task)
        task.add_done_callback(self._wakes.discard)

    def _take_out(self, job: MemoryJob) -> None:
        if job.status is JobStatus.QUEUED:
            self._order(job.spec.model).fall_out(job)
        elif job.status is JobStatus.RUNNING:
            job.running_s += max(0.0, self._clock() - job.claimed_at)
            job.evaluations_before = job.evaluations
            self._order(job.spec.model).give_back(job)
        job.fence = ""

    def _enqueue(self, job: MemoryJob) -> None:
        self._take_out(job)
        job.status, job.fresh, job.queued_at = JobStatus.QUEUED, False, self._clock()
        self._order(job.spec.model).line_up(job)
        self._emit(job, "status")

    def _finish(self, job: MemoryJob, status: JobStatus, error: JobError | None = None) -> None:
        self._take_out(job)
        job.status, job.finished_at, job.error = status, self._clock(), error
        if status is not JobStatus.SUCCEEDED and job.images:
            job.results_dropped = True
        job.checkpoints.clear()
        self._ended[status.value] += 1
        if error is not None:
            self._failures[error.code] = self._failures.get(error.code, 0) + 1
        self._count_latency(job, status.value)
        post(job, job.finished_at, status)
        self._emit(job, "result")

    def _count_latency(self, job: MemoryJob, outcome: str) -> None:
        seconds = max(0.0, (job.finished_at or job.created_at) - job.created_at)
        bound = bound_of(seconds)
        kept = self._latency.setdefault(job.spec.model, {})
        for name, more in ((f"{outcome}:le:{bound}", 1), (f"{outcome}:sum", seconds)):
            kept[name] = repr(type(more)(kept.get(name, 0)) + more)
        if (trace_id := traced_id(job.traceparent)) is not None:
            kept[f"{outcome}:exemplar:{bound}"] = f"{trace_id} {seconds} {job.finished_at}"

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
        if job_id in self._jobs:
            return Created(self._jobs[job_id].record(), replayed=False)
        now = self._clock()
        if idempotency is not None:
            key = spec.tenant, idempotency.key
            fingerprint, known, until = self._keys.get(key, ("", "", 0.0))
            if until > now:
                if fingerprint != idempotency.fingerprint:
                    raise IdempotencyConflict
                if known in self._jobs:
                    return Created(self._jobs[known].record(), replayed=True)
        self._admit(spec, units, (await self.backlog(spec.model)).units)
        self._seq += 1
        expires = None if spec.deadline_s is None else now + spec.deadline_s
        due = now + self._settings.patience_s if expires is None else expires
        job = MemoryJob(job_id, spec, units, self._seq, now, now, expires, due, traceparent)
        self._check_deadline(job)
        if webhook is not None:
            job.webhook, job.webhook_state = webhook, WebhookState.WAITING
        self._jobs[job_id] = job
        if idempotency is not None:
            until = now + self._settings.idempotency_ttl_s
            self._keys[spec.tenant, idempotency.key] = (idempotency.fingerprint, job_id, until)
        self._created += 1
        self._order(spec.model).line_up(job)
        self._emit(job, "status")
        return Created(job.record(), replayed=False)

    def _admit(self, spec: JobSpec, units: float, outstanding: float) -> None:
        workers = [worker for worker, _ in self._workers.values()]
        over = outstanding + units - self._settings.max_backlog_units
        if outstanding > 0 and over > 0:
            raise BacklogFull(retry_after_s(workers, spec.model, over))
        mine = self.tenants.load(spec.tenant)
        over = mine.outstanding_units + units - mine.max_units
        if mine.max_units > 0 and over > 0:
            busy = {j.spec.tenant for j in self._jobs.values() if not j.status.ended}
            others = len(busy - {spec.tenant}) * self._settings.tenant_weight
            wait_s = retry_after_s(workers, spec.model, over * (mine.weight + others) / mine.weight)
            raise over_quota(spec.tenant, units, mine.max_units, mine.outstanding_units, wait_s)

    def _check_deadline(self, job: MemoryJob) -> None:
        speed = full_speed((worker for worker, _ in self._workers.values()), job.spec.model)
        if job.spec.deadline_s is None or speed is None:
            return
        _, before = self._order(job.spec.model).ahead(job)
        earliest_s = before / speed.all + job.units / speed.one
        if earliest_s > job.spec.deadline_s:
            raise DeadlineUnmeetable(job.spec.deadline_s, earliest_s)

    def _bytes(self) -> int:
        return sum(job.size_bytes for job in self._jobs.values())

    def _memory_bytes(self) -> int:
        return sum(job.memory_bytes for job in self._jobs.values())

    async def get(self, job_id: str) -> JobRecord:
        """Return the job."""
        return self._job(job_id).record()

    async def list(
        self,
        *,
        tenant: str | None = None,
        status: JobStatus | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> JobPage:
        """Return a page of jobs, newest first."""
        if cursor is not None and (
            not (cursor.isascii() and cursor.isdecimal()) or len(cursor) > 18
        ):
            raise InvalidCursor(f"{cursor!r} is not a cursor that was given out")
        below = self._seq + 1 if cursor is None else int(cursor)
        found = sorted(
            (
                j
                for j in self._jobs.values()
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
        job = self._jobs.get(record.id)
        if job is None or job.status is not JobStatus.QUEUED:
            return None
        jobs, units = self._order(job.spec.model).ahead(job)
        return QueuePosition(jobs + 1, units)

    async def cancel(self, job_id: str) -> JobRecord:
        """End the job as ``canceled`` at once."""
        job = self._job(job_id)
        if not job.status.ended:
            self._finish(job, JobStatus.CANCELED)
        return job.record()

    async def delete(self, job_id: str) -> None:
        """Cancel if need be, then forget the job."""
        await self.cancel(job_id)
        self._forget(job_id)
        self._wake()

    async def purge(self, tenant: str, limit: int) -> int:
        """Delete at most so many of a tenant's jobs."""
        theirs = [job for job in self._jobs.values() if job.spec.tenant == tenant]
        oldest = sorted(theirs, key=lambda job: job.seq)[:limit]
        for job in oldest:
            await self.delete(job.id)
        return len(oldest)

    def _forget(self, job_id: str) -> None:
        del self._jobs[job_id]
        self._keys = {key: kept for key, kept in self._keys.items() if kept[1] != job_id}

    # Workers -------------------------------------------------------------------------------

    async def claim(self, model: str, worker: str, *, idle: bool) -> Claim | None:
        """Hand the next waiting job of this model to the worker."""
        now = self._clock()
        order = self._order(model)
        making_room = False

        def may(job: MemoryJob) -> bool:
            nonlocal making_room
            if idle or job.deaths < self._settings.suspect_deaths:
                return True
            making_room = making_room or self._makes_room(job, worker, now)
            return False

        found = order.choose(lambda job: self._in_time(job) and may(job))
        if found is None or making_room:
            return None
        job, served_as = found
        order.serve(job, served_as, self._settings.class_share)
        self._take_out(job)
        self._fences += 1
        job.status, job.fence = JobStatus.RUNNING, f"{self._fences}-{secrets.token_hex(8)}"
        job.attempts += 1
        job.worker, job.claimed_at = worker, now
        job.started_at = now if job.started_at is None else job.started_at
        job.lease_until = now + self._settings.lease_s
        self._emit(job, "status")
        return Claim(
            job.record(),
            Lease(job.id, model, worker, job.fence),
            tuple(job.checkpoints.values()),
            tuple(sorted(job.images)),
            job.deaths >= self._settings.suspect_deaths,
            served_as,
            self.tenants.weight(job.spec.tenant),
        )

    def _makes_room(self, job: MemoryJob, worker: str, now: float) -> bool:
        """Whether this worker has to become idle for a suspect job that has waited too long."""
        if now - job.queued_at < self._settings.suspect_wait_s:
            return False
        holder, until = self._making_room.get(job.spec.model, ("", 0.0))
        if until > now and holder != worker:
            return False
        self._making_room[job.spec.model] = worker, now + 2 * self._settings.lease_s
        return True

    async def renew(self, leases: Sequence[Lease], *, parkable: int | None = None) -> Renewal:
        """Prolong all leases in one call."""
        self._forgive_silence(self._clock())
        lost, model = set(), None
        for lease in leases:
            if self._holds(lease):
                self._jobs[lease.job_id].lease_until = self._seen + self._settings.lease_s
                model = lease.model
            else:
                lost.add(lease.job_id)
        called = None if model is None or parkable is None else self._called(model, parkable)
        return Renewal(frozenset(lost), called)

    def _called(self, model: str, parkable: int) -> int | None:
        """Return the rank of a waiting job that a lower one should be parked for."""
        suspect = self._settings.suspect_deaths
        for rank in range(parkable):
            job = self._order(model).first(
                rank, lambda job: self._in_time(job) and job.deaths < suspect
            )
            if job is None:
                continue
            if self._seen - job.queued_at < self._settings.park_after_s:
                return None
            calls = [at for at in self._calls.get(model, ()) if at > self._seen - 1]
            self._calls[model] = [*calls, self._seen]
            waiting = self._of(model, JobStatus.QUEUED)
            above = sum(each.spec.priority.rank <= rank for each in waiting)
            return rank if len(calls) < above else None
        return None

    async def progress(self, updates: Sequence[Progress]) -> frozenset[str]:
        """Record and publish progress in one call."""
        lost = set()
        for update in updates:
            if not self._holds(update.lease):
                lost.add(update.lease.job_id)
                continue
            job = self._jobs[update.lease.job_id]
            job.step, job.units_done = update.step, update.units_done
            job.evaluations = job.evaluations_before + update.evaluations
            eta_s = None if update.eta_s is None else round(update.eta_s, 2)
            self._emit(job, "progress", step=update.step, eta_s=eta_s)
        return frozenset(lost)

    async def preview(self, previews: Sequence[Preview]) -> frozenset[str]:
        """Publish previews in one call."""
        lost = set()
        for p in previews:
            if not self._holds(p.lease):
                lost.add(p.lease.job_id)
                continue
            job = self._jobs[p.lease.job_id]
            event = self._emit(
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
        job = self._held(lease)
        for checkpoint in checkpoints:
            job.checkpoints[checkpoint.image] = checkpoint
        job.deaths = 0

    async def add_image(self, lease: Lease, image: FinishedImage) -> None:
        """Store one finished picture."""
        job = self._held(lease)
        job.images.setdefault(image.record.index, image)
        job.checkpoints.pop(image.record.index, None)
        job.deaths = 0

    async def finish(self, lease: Lease, evaluations: int) -> JobRecord:
        """End the job as ``succeeded``."""
        job = self._held(lease)
        job.step = job.spec.num_inference_steps * job.spec.num_images
        job.units_done = job.units
        job.evaluations = job.evaluations_before + evaluations
        self._finish(job, JobStatus.SUCCEEDED)
        return job.record()

    async def fail(self, lease: Lease, error: JobError) -> JobRecord:
        """End the job as ``failed`` with the reason."""
        job = self._held(lease)
        self._finish(job, JobStatus.FAILED, error)
        return job.record()

    async def requeue(self, lease: Lease, reason: RequeueReason) -> JobRecord:
        """Give the job back with its checkpoints."""
        job = self._held(lease)
        self._enqueue(job)
        return job.record()

    # Anyone --------------------------------------------------------------------------------

    def _forgive_silence(self, now: float) -> None:
        """Give every lease a new term after a while in which nobody could renew."""
        if now - self._seen > self._settings.lease_s / 2:
            for job in self._jobs.values():
                if job.status is JobStatus.RUNNING:
                    job.lease_until = now + self._settings.lease_s
        self._seen = now

    async def sweep(self) -> Swept:
        """Requeue, expire, bound."""
        now, settings = self._clock(), self._settings
        running = [job for job in self._jobs.values() if job.status is JobStatus.RUNNING]
        self._forgive_silence(now)
        for job in running:  # where the clock was set back, a lease must not last for as long
            job.lease_until = min(job.lease_until, now + settings.lease_s)
        expired = []
        for job in self._jobs.values():
            if not job.status.ended and job.expires_at is not None and job.expires_at <= now:
                self._finish(job, JobStatus.EXPIRED)
                expired.append(job.id)
        requeued, failed = [], []
        for job in running:
            if job.status is not JobStatus.RUNNING or job.lease_until > now:
                continue
            self._reaped += 1
            job.deaths += 1
            if job.deaths >= settings.max_deaths:
                detail = f"its worker died {job.deaths} times without a new checkpoint, last "
                self._finish(
                    job, JobStatus.FAILED,
                    JobError(code="worker_died", detail=f"{detail}{job.worker or ''}"),
                )  # fmt: skip
                failed.append(job.id)
            else:
                self._enqueue(job)
                requeued.append((job.id, job.spec.model))
        return Swept(tuple(requeued), tuple(expired), tuple(failed), self._bound(now))

    def _bound(self, now: float) -> int:
        """Drop pictures that are too old or too many, and forget records past their time."""
        settings = self._settings
        kept = sorted(
            (j for j in self._jobs.values() if j.status is JobStatus.SUCCEEDED and j.size_bytes),
            key=lambda job: job.finished_at or 0.0,
        )
        dropped = 0
        for job in kept:
            old = now - (job.finished_at or now) >= settings.result_ttl_s
            if old or self._bytes() > settings.max_results_bytes:
                job.results_dropped = True
                dropped += 1
        for job in list(self._jobs.values()):
            if job.finished_at is not None and now - job.finished_at >= settings.record_ttl_s:
                self._forget(job.id)
        return dropped

    async def image(self, job_id: str, index: int) -> FinishedImage:
        """Return a finished picture."""
        job = self._job(job_id)
        image = job.images.get(index)
        if image is None:
            raise JobNotFound(f"{job_id}/images/{index}")
        if job.results_dropped:
            raise ResultExpired(f"picture {index} of job {job_id} is past its time to live")
        return image

    async def latest_preview(self, job_id: str) -> tuple[str, bytes] | None:
        """Return the newest preview."""
        job = self._job(job_id)
        if not job.previews:
            return None
        data = job.previews[-1].data
        return data["content_type"], data["data"]

    async def events(self, job_id: str, after: str | None = None) -> AsyncIterator[Event]:
        """Yield the job's events after an id, until its result."""
        seen = _order(parse_id(after))
        self._job(job_id)
        while True:
            job = self._jobs.get(job_id)
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
            async with asyncio.timeout(RECHECK_S), self._changed:
                await self._changed.wait()
        except TimeoutError:
            return

    async def announce_model(self, model: ModelEntry) -> None:
        """Put a model into the catalogue."""
        self._models[model.name] = model

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
            [job.remaining for job in self._of(model, status)]
            for status in (JobStatus.QUEUED, JobStatus.RUNNING)
        )
        return Backlog(len(pending), len(running), sum(pending), sum(running))

    async def totals(self) -> Totals:
        """Return the counters for metrics."""
        return Totals(
            dict(self._ended),
            dict(self._failures),
            self._created,
            self._reaped,
            self._bytes(),
            self._memory_bytes(),
        )

    async def latencies(self, model: str) -> tuple[Latency, ...]:
        """Return how long the model's jobs took, by outcome."""
        return latencies(self._latency.get(model, {}))

    async def ping(self) -> None:
        """Answer: memory is always there."""

    async def close(self) -> None:
        """Wait for listeners to have been told."""
        await asyncio.gather(*self._wakes)


def _order(event_id: str) -> tuple[int, int]:
    milliseconds, _, number = event_id.partition("-")
    return int(milliseconds), int(number)
