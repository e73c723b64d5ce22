"""The store's protocol: the transitions of a job, each atomic and guarded by a fence."""

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol, TypedDict, Unpack

from jobs.errors import NewerSchema, UnreadableRecord
from jobs.fleet import Fleet
from jobs.latency import Latency
from jobs.outbox import Outbox
from jobs.schema import Durable, ImageRecord, JobError, JobRecord, JobSpec, JobStatus, JobWarning
from jobs.tenants import Holding, Share, Tenants
from jobs.webhook import Webhook

RequeueReason = Literal["drain", "parked", "abandoned"]


@dataclass(frozen=True)
class Idempotency:
    """A client's key, unique within its tenant, and a digest of the body it was sent with."""

    key: str
    fingerprint: str


class CreateOptions(TypedDict, total=False):
    """Options of a new job."""

    idempotency: Idempotency | None
    traceparent: str | None  # the W3C trace context of the job's later spans
    webhook: Webhook | None
    warnings: Sequence[JobWarning]  # what the door has found
    # "strict": return once the job, new or replayed, would survive the loss of the store's host;
    # None: as the store's settings say
    durable: Durable | None


@dataclass(frozen=True)
class Created:
    """The job; ``replayed`` if an earlier call with the same idempotency key created it."""

    record: JobRecord
    replayed: bool


@dataclass(frozen=True)
class Lease:
    """The right to write to a job, void once it expires or the job's fence changes."""

    job_id: str
    model: str
    worker: str
    fence: str  # "<counter>-<random token>", compared for equality


@dataclass(frozen=True)
class Checkpoint:
    """The sampling state of an image; ``blob`` is the state S, float32, C order."""

    image: int
    row: int  # the next row to evaluate
    identity: str  # model sha256, backend and table fingerprint; resumed only if equal
    shape: tuple[int, int, int, int]  # (K, C, h, w)
    blob: bytes


@dataclass(frozen=True)
class Claim:
    """A job handed to a worker, with what earlier attempts left."""

    record: JobRecord
    lease: Lease
    checkpoints: tuple[Checkpoint, ...] = ()
    finished: tuple[int, ...] = ()  # images already stored by earlier attempts
    alone: bool = False  # suspected of killing its worker: run it without neighbours
    rank: int = 0  # of the class it is served as, 0 first: its own or a higher one
    weight: float = 1.0  # of its tenant
    idle_workers: int = 0  # others of the model, which could help with its images
    helps: bool = False  # another worker has the job; this one draws the images not ``finished``


@dataclass(frozen=True)
class Retaken:
    """What has become of the images that a job's worker has offered; all others are its own again.

    An image that a helper has stored stays with the helper until that has finished.
    """

    helped: frozenset[int]
    stored: frozenset[int]


@dataclass(frozen=True)
class Renewal:
    """The outcome of a batch of renewals."""

    lost: frozenset[str] = frozenset()  # ids of jobs that this worker no longer holds
    higher_waiting: int | None = None  # rank of a waiting job worth preempting a lower one for
    share: Share | None = None  # else: what another tenant should have


class Progressed(NamedTuple):
    """The outcome of a batch of progress: ids of jobs."""

    lost: frozenset[str] = frozenset()  # that this worker no longer holds
    finishing: frozenset[str] = frozenset()  # that are to end at their present step


@dataclass(frozen=True)
class Progress:
    """How far a job is; published in batches at a bounded rate."""

    lease: Lease
    step: int  # steps finished, over all images
    units_done: float
    evaluations: int  # UNet rows evaluated in this attempt
    eta_s: float | None = None


@dataclass(frozen=True)
class Preview:
    """An unfinished image, encoded: the denoised estimate, or the noisy sample."""

    lease: Lease
    image: int
    step: int
    content_type: str
    data: bytes
    of: str = "estimate"  # or "sample"


@dataclass(frozen=True)
class FinishedImage:
    """A finished image with its bytes."""

    record: ImageRecord
    data: bytes


@dataclass(frozen=True)
class Event:
    """One event of a job's stream."""

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
    running_units: float  # what running jobs have left

    @property
    def units(self) -> float:
        """All remaining work, queued and running."""
        return self.pending_units + self.running_units


@dataclass(frozen=True)
class JobPage:
    """A page of jobs, newest first; ``cursor`` is None on the last page."""

    records: tuple[JobRecord, ...]
    cursor: str | None
    unreadable: tuple[NewerSchema | UnreadableRecord, ...] = ()  # errors of the page's other jobs


@dataclass(frozen=True)
class Swept:
    """What one sweep did."""

    requeued: tuple[tuple[str, str], ...] = ()  # (job id, model), to ring for
    expired: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()  # dead-lettered after too many process deaths
    results_dropped: int = 0
    records_forgotten: int = 0  # before their time, to keep within their bound
    lost: int = 0  # jobs that had vanished from the store


@dataclass(frozen=True)
class Totals:
    """Counters since the store was created; every door reports the same."""

    ended: dict[str, int] = field(default_factory=dict)  # by status
    failures: dict[str, int] = field(default_factory=dict)  # failed jobs by JobError.code
    created: int = 0
    lost: int = 0  # vanished from the store
    leases_reaped: int = 0
    results_bytes: int = 0
    previews_bytes: int = 0  # the newest of each ended job
    records_bytes: int = 0  # what else ended jobs hold
    unreadable: int = 0  # damaged records not yet rewritten or deleted
    memory_bytes: int = 0
    memory_limit_bytes: int = 0  # above it no job is accepted
    evicts: bool = False  # when it is full, the server deletes jobs


class JobStore(Fleet, Protocol):
    """The store of all jobs. All times are by the store's own clock.

    Writes under a lease raise :class:`~jobs.errors.StaleFence` if the lease is void.
    Every method raises :class:`~jobs.errors.StoreUnavailable` if the store does not answer.
    """

    @property
    def tenants(self) -> Tenants:
        """The tenants' terms and outstanding work."""

    @property
    def outbox(self) -> Outbox:
        """The webhooks of ended jobs."""

    async def create(
        self, job_id: str, spec: JobSpec, units: float, **options: Unpack[CreateOptions]
    ) -> Created:
        """Store a new job as ``queued``; the caller then rings its model's doorbell.

        Raises:
            IdempotencyConflict: the key was used with another fingerprint.
            BacklogFull: the job would take the model's outstanding work past its limit.
            QuotaExceeded: it would take its tenant's outstanding work past its quota, or past its
                share of the model's backlog.
            LargerThanQuota: it alone exceeds its tenant's quota.
            DeadlineUnmeetable: the work ahead and its own take longer than ``deadline_s``, even
                with all the workers that the model may have; not raised while speed is unknown.
            DurabilityUnsupported: this store does not support ``strict``.
            NotDurable: it was not confirmed in time; ``kept`` says whether the job exists.
            StoreFull: memory is past its high-water mark.
            StoreEvicts: the server may lose the job.
        """

    async def get(self, job_id: str) -> JobRecord:
        """Return the job. Raises: JobNotFound, NewerSchema, UnreadableRecord."""

    async def owner(self, job_id: str) -> str:
        """Return the job's tenant, even if its record is unreadable. Raises: JobNotFound."""

    async def list(
        self,
        *,
        tenant: str | None = None,
        status: JobStatus | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> JobPage:
        """Return a page of a tenant's or all jobs, newest first. Raises: InvalidCursor."""

    async def queue_position(self, record: JobRecord) -> QueuePosition | None:
        """Return a queued job's place, None if the job is not queued. O(log n).

        It is exact while one tenant waits, and an estimate while several do.
        """

    async def claim(
        self,
        model: str,
        worker: str,
        *,
        idle: bool,
        above: int | None = None,
        tenant: str | None = None,
    ) -> Claim | None:
        """Hand the model's next waiting job to the worker; return None if none waits.

        Only an ``idle`` worker is given a job suspected of killing workers (``Claim.alone``). With
        ``above``, the next job counts only if it is served as a class above this rank; with
        ``tenant``, only that tenant's jobs count.
        """

    async def offer(self, lease: Lease, images: Sequence[int], share: int) -> None:
        """Offer images of a job to idle workers, up to ``share`` to each. The caller rings."""

    async def help(
        self, model: str, worker: str, *, most: int, busy: Sequence[str]
    ) -> Claim | None:
        """Hand a worker images of a job that another one offers, None if there are none.

        They are ``most`` at most, and of no job that it is ``busy`` with. Its lease is of these
        alone: it stores them and finishes, or gives the others back by a requeue or failure.
        """

    async def retake(self, lease: Lease) -> Retaken:
        """Take back offered images that no worker has taken or that a helper has given back."""

    async def checkpoints(self, job_id: str) -> tuple[Checkpoint, ...]:
        """Return the job's checkpoints, none if it is not there."""

    async def renew(
        self,
        leases: Sequence[Lease],
        *,
        preemptible: int | None = None,
        held: Sequence[Holding] = (),
    ) -> Renewal:
        """Extend all leases in one call and return those that are void, without StaleFence.

        A full worker passes ``preemptible``, the rank of the lowest class that it could preempt,
        and what is ``held`` in that class, to learn of a job of a higher class or of a tenant with
        less than its share that has waited for ``park_after_s``. Within a second, at most as many
        workers learn of one as such jobs wait.
        """

    async def progress(self, updates: Sequence[Progress]) -> Progressed:
        """Record and publish progress in one call."""

    async def preview(self, previews: Sequence[Preview]) -> frozenset[str]:
        """Publish previews in one call; return ids whose lease is void."""

    async def checkpoint(self, lease: Lease, checkpoints: Sequence[Checkpoint]) -> None:
        """Replace the images' checkpoints, and reset the job's count of process deaths."""

    async def warn(self, lease: Lease, warnings: Sequence[JobWarning]) -> None:
        """Add warnings to the job; a later one replaces an earlier one of its code."""

    async def add_image(self, lease: Lease, image: FinishedImage) -> None:
        """Store a finished image and drop its checkpoint."""

    async def finish(self, lease: Lease, evaluations: int, early: int | None = None) -> JobRecord:
        """End the job as ``succeeded`` once all images are added, one ``early`` at this step."""

    async def fail(self, lease: Lease, error: JobError, *, elsewhere: bool = False) -> JobRecord:
        """End the job as ``failed`` with the reason.

        With ``elsewhere``, a job that fails for the first time is requeued if its model has another
        live worker, which then gets it. The caller rings.
        """

    async def requeue(self, lease: Lease, reason: RequeueReason) -> JobRecord:
        """Give the job back with its checkpoints, as its tenant's next. The caller rings."""

    async def cancel(self, job_id: str) -> JobRecord:
        """End the job as ``canceled`` at once; an ended job is returned unchanged."""

    async def finish_now(self, job_id: str) -> JobRecord:
        """Have a job that was begun end at its present step. Raises: NotBegun."""

    async def delete(self, job_id: str) -> None:
        """Cancel the job if it has not ended, then delete its record, images and events."""

    async def purge(self, tenant: str, limit: int) -> int:
        """Delete up to ``limit`` of a tenant's jobs, oldest first; return the number deleted."""

    async def take_sweep(self, holder: str, hold_s: float) -> bool:
        """Return whether ``holder`` is the one that sweeps, and keep it so for ``hold_s``."""

    async def sweep(self) -> Swept:
        """Requeue jobs with expired leases, end jobs past their deadline, evict old images.

        Any worker or door may call it at any time, concurrently too.
        """

    async def image(self, job_id: str, index: int) -> FinishedImage:
        """Return a finished image. Raises: JobNotFound, ResultExpired."""

    async def latest_preview(self, job_id: str) -> tuple[str, bytes] | None:
        """Return the content type and the bytes of the newest preview, or None."""

    async def ended(self, job_id: str) -> None:
        """Return once the job has ended or is deleted; no event is read. Raises: JobNotFound."""

    def events(self, job_id: str, after: str | None = None) -> AsyncIterator[Event]:
        """Yield the job's events after an id (None: from the oldest kept) until its result.

        An id that the stream has not reached counts as None. Raises: JobNotFound, InvalidCursor.
        """

    def event_batches(
        self, job_id: str, after: str | None = None
    ) -> AsyncGenerator[tuple[Event, ...]]:
        """Yield the job's events as `events` does, those together that have come together."""

    async def backlog(self, model: str) -> Backlog:
        """Return the model's outstanding work."""

    async def totals(self) -> Totals:
        """Return the counters for metrics."""

    async def latencies(self, model: str) -> tuple[Latency, ...]:
        """Return how long the model's jobs took, by outcome."""

    async def ping(self) -> None:
        """Check that the store answers. Raises: StoreEvicts, it may lose jobs."""

    async def close(self) -> None:
        """Release connections."""
