"""The store's protocol: every transition of a job's life, each atomic, each guarded by a fence."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypedDict, Unpack

from jobs.catalogue import ModelEntry
from jobs.errors import InvalidCursor, NewerSchema, UnreadableRecord
from jobs.latency import Latency
from jobs.outbox import Outbox
from jobs.schema import Durable, ImageRecord, JobError, JobRecord, JobSpec, JobStatus
from jobs.tenants import Tenants
from jobs.webhook import Webhook

RequeueReason = Literal["drain", "parked", "abandoned"]
WORKER_TTL_S = 5
"""Silence after which a worker does not count as live."""


@dataclass(frozen=True)
class Idempotency:
    """A client's key, one of its tenant's own, with a digest of the body it was sent with."""

    key: str
    fingerprint: str


class CreateOptions(TypedDict, total=False):
    """What a new job may come with."""

    idempotency: Idempotency | None
    traceparent: str | None  # the W3C trace context that the job's later spans belong under
    webhook: Webhook | None
    # "strict" returns once the job, new or replayed, would survive the loss of the store's machine;
    # None leaves it to the store's settings.
    durable: Durable | None


@dataclass(frozen=True)
class Created:
    """The job that now exists; ``replayed`` when an earlier call with this key made it."""

    record: JobRecord
    replayed: bool


@dataclass(frozen=True)
class Lease:
    """The right to write to a job: void once it runs out or the job's fence changes."""

    job_id: str
    model: str
    worker: str
    fence: str  # "<counter>-<random token>", compared for equality


@dataclass(frozen=True)
class Checkpoint:
    """Where a picture's sampling stands; ``blob`` is the state S, float32, C order."""

    image: int
    row: int  # the next row to evaluate
    identity: str  # model sha256, backend and table fingerprint; resumed only where equal
    shape: tuple[int, int, int, int]  # (K, C, h, w)
    blob: bytes


@dataclass(frozen=True)
class Claim:
    """A job handed to a worker, with everything that earlier attempts left behind."""

    record: JobRecord
    lease: Lease
    checkpoints: tuple[Checkpoint, ...] = ()
    finished: tuple[int, ...] = ()  # pictures already stored by an earlier attempt
    alone: bool = False  # suspected of killing its worker: run it without neighbours
    rank: int = 0  # the class that it is served as, 0 first: its own, or one that passed it by
    weight: float = 1.0  # of its tenant


@dataclass(frozen=True)
class Renewal:
    """What the store says to a batch of renewals."""

    lost: frozenset[str] = frozenset()  # job ids whose lease this worker no longer holds
    higher_waiting: int | None = None  # rank of a waiting job that a lower one should be parked for


@dataclass(frozen=True)
class Progress:
    """How far a job is; published in batches at a bounded rate."""

    lease: Lease
    step: int  # steps finished, over all pictures
    units_done: float
    evaluations: int  # UNet rows evaluated in this attempt
    eta_s: float | None = None


@dataclass(frozen=True)
class Preview:
    """A picture taking shape: the denoised estimate, encoded."""

    lease: Lease
    image: int
    step: int
    content_type: str
    data: bytes


@dataclass(frozen=True)
class FinishedImage:
    """One finished picture with its bytes."""

    record: ImageRecord
    data: bytes


@dataclass(frozen=True)
class Event:
    """One line of a job's history, as the event stream tells it."""

    id: str  # the stream id, "<ms>-<n>"
    kind: Literal["status", "progress", "preview", "result"]
    attempt: int
    data: dict[str, Any]


@dataclass(frozen=True)
class QueuePosition:
    """A queued job's place: 1 is claimed next."""

    position: int
    units_ahead: float


@dataclass(frozen=True)
class Backlog:
    """A model's outstanding work, in jobs and in units."""

    pending_jobs: int
    running_jobs: int
    pending_units: float
    running_units: float  # what running jobs still have before them

    @property
    def units(self) -> float:
        """All remaining work, queued and running."""
        return self.pending_units + self.running_units


@dataclass(frozen=True)
class WorkerEntry:
    """A live worker as it announces itself once a second."""

    id: str
    host: str
    pid: int
    model: str
    backend: str
    slots: int
    jobs: int
    rows_per_s: float  # UNet rows while busy, with whatever it had to do
    started_at: float
    units_per_s: float = 0.0  # what it does with full batches; 0: not measured


@dataclass(frozen=True)
class JobPage:
    """A page of jobs, newest first; ``cursor`` is None on the last page."""

    records: tuple[JobRecord, ...]
    cursor: str | None
    unreadable: tuple[NewerSchema | UnreadableRecord, ...] = ()  # why, of the others on this page


def parse_cursor(cursor: str) -> int:
    """Return the number of the job that a page of jobs goes on below.

    Raises:
        InvalidCursor: no page gave this cursor out.
    """
    if not (cursor.isascii() and cursor.isdecimal()) or len(cursor) > 18:
        raise InvalidCursor(f"{cursor!r} is not a cursor that was given out")
    return int(cursor)


@dataclass(frozen=True)
class Swept:
    """What one sweep did."""

    requeued: tuple[tuple[str, str], ...] = ()  # (job id, model): ring once for each
    expired: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()  # dead-lettered after too many process deaths
    results_dropped: int = 0


@dataclass(frozen=True)
class Totals:
    """Counters since the store was made, for metrics read by any door."""

    ended: dict[str, int] = field(default_factory=dict)  # by status
    failures: dict[str, int] = field(default_factory=dict)  # failed jobs by JobError.code
    created: int = 0
    leases_reaped: int = 0
    results_bytes: int = 0
    memory_bytes: int = 0
    unreadable: int = 0  # records found damaged and neither repaired nor deleted since


class JobStore(Protocol):
    """The truth about every job. All times are the store's own clock.

    Writes under a lease raise :class:`~jobs.errors.StaleFence` when the lease is void.
    Every method raises :class:`~jobs.errors.StoreUnavailable` when the store does not answer.
    """

    @property
    def tenants(self) -> Tenants:
        """The tenants' terms, and what each has outstanding."""
        ...

    @property
    def outbox(self) -> Outbox:
        """The ends of jobs that clients are to be told of."""
        ...

    async def create(
        self, job_id: str, spec: JobSpec, units: float, **options: Unpack[CreateOptions]
    ) -> Created:
        """Store a new job as ``queued``; the caller then rings its model's doorbell.

        Raises:
            IdempotencyConflict: the key was used with another fingerprint.
            BacklogFull: the model's remaining work is past its bound.
            QuotaExceeded, LargerThanQuota: the tenant's own is, or would be by this job alone.
            DeadlineUnmeetable: the work before it and its own take longer than ``deadline_s``, even
                with as many workers as the model may have; not raised while their speed is unknown.
            DurabilityUnsupported: ``strict`` cannot be had from this store.
            NotDurable: it could not be confirmed in time; ``kept`` says whether the job exists.
            StoreFull: memory is past its high-water mark.
        """
        ...

    async def get(self, job_id: str) -> JobRecord:
        """Return the job. Raises: JobNotFound, NewerSchema, UnreadableRecord."""
        ...

    async def owner(self, job_id: str) -> str:
        """Return the job's tenant, readable or not. Raises: JobNotFound."""
        ...

    async def list(
        self,
        *,
        tenant: str | None = None,
        status: JobStatus | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> JobPage:
        """Return a page of a tenant's or all jobs, newest first. Raises: InvalidCursor."""
        ...

    async def queue_position(self, record: JobRecord) -> QueuePosition | None:
        """Return a queued job's place, or None when it does not wait. O(log n).

        It is exact while one tenant waits and an estimate where several do.
        """
        ...

    async def claim(self, model: str, worker: str, *, idle: bool) -> Claim | None:
        """Hand the next waiting job of this model to the worker, or None when none waits.

        A job suspected of killing workers is given only to an ``idle`` one (``Claim.alone``).
        """
        ...

    async def renew(self, leases: Sequence[Lease], *, parkable: int | None = None) -> Renewal:
        """Prolong all leases in one call and report those that are void; raises nothing stale.

        ``parkable`` comes from a full worker: the rank of the lowest class that it could park. It
        is told of a job above that which has waited ``park_after_s``; in a second no more workers
        are told than such jobs wait.
        """
        ...

    async def progress(self, updates: Sequence[Progress]) -> frozenset[str]:
        """Record and publish progress in one call; return the ids whose lease is void."""
        ...

    async def preview(self, previews: Sequence[Preview]) -> frozenset[str]:
        """Publish previews in one call; return the ids whose lease is void."""
        ...

    async def checkpoint(self, lease: Lease, checkpoints: Sequence[Checkpoint]) -> None:
        """Replace the pictures' checkpoints; blobs are written first, then pointed to.

        A new checkpoint sets the job's count of process deaths back to zero.
        """
        ...

    async def add_image(self, lease: Lease, image: FinishedImage) -> None:
        """Store one finished picture of a job that has others to draw; drops its checkpoint."""
        ...

    async def finish(self, lease: Lease, evaluations: int) -> JobRecord:
        """End the job as ``succeeded``: every picture has been added. Frees its checkpoints."""
        ...

    async def fail(self, lease: Lease, error: JobError) -> JobRecord:
        """End the job as ``failed`` with the reason."""
        ...

    async def requeue(self, lease: Lease, reason: RequeueReason) -> JobRecord:
        """Give the job back with its checkpoints; it is next in line. The caller rings."""
        ...

    async def cancel(self, job_id: str) -> JobRecord:
        """End the job as ``canceled`` at once; an ended job is returned as it is."""
        ...

    async def delete(self, job_id: str) -> None:
        """Cancel if need be, then forget the job, its pictures and its events."""
        ...

    async def purge(self, tenant: str, limit: int) -> int:
        """Delete at most so many of a tenant's jobs, the oldest first; return how many it was."""
        ...

    async def sweep(self) -> Swept:
        """Requeue jobs with expired leases, end jobs past their deadline, bound the results.

        Any worker or door may call it at any time; two sweeps at once do no harm.
        """
        ...

    async def image(self, job_id: str, index: int) -> FinishedImage:
        """Return a finished picture. Raises: JobNotFound, ResultExpired."""
        ...

    async def latest_preview(self, job_id: str) -> tuple[str, bytes] | None:
        """Return (content type, bytes) of the newest preview, or None."""
        ...

    def events(self, job_id: str, after: str | None = None) -> AsyncIterator[Event]:
        """Yield the job's events after an id (None: from the oldest kept), until its result.

        Raises: JobNotFound, InvalidCursor.
        """
        ...

    async def announce_model(self, model: ModelEntry) -> None:
        """Put a model into the catalogue, which outlives its workers."""
        ...

    async def forget_model(self, name: str) -> None:
        """Take a model out of the catalogue; a worker that serves it would put it back."""
        ...

    async def models(self) -> tuple[ModelEntry, ...]:
        """Return the catalogue, by name; an entry that cannot be read is skipped and logged."""
        ...

    async def announce_worker(self, worker: WorkerEntry) -> None:
        """Announce or refresh a live worker; it is forgotten a few seconds after the last call."""
        ...

    async def retire_worker(self, worker_id: str) -> None:
        """Forget a worker that stops."""
        ...

    async def workers(self) -> tuple[WorkerEntry, ...]:
        """Return the live workers."""
        ...

    async def backlog(self, model: str) -> Backlog:
        """Return the model's remaining work."""
        ...

    async def totals(self) -> Totals:
        """Return the counters for metrics."""
        ...

    async def latencies(self, model: str) -> tuple[Latency, ...]:
        """Return how long the model's jobs took from creation to end, by outcome."""
        ...

    async def ping(self) -> None:
        """Check that the store answers."""
        ...

    async def close(self) -> None:
        """Release connections."""
        ...
