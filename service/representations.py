"""What the door says about a job, a model, a worker: the JSON that clients read."""

from datetime import UTC, datetime

from pydantic import BaseModel, ConfigDict, Field

from jobs.catalogue import ModelEntry, SamplerEntry
from jobs.scaling import ScalingSignal
from jobs.schema import JobRecord, JobSpec, JobStatus
from jobs.store import WorkerEntry
from jobs.webhook import WebhookEvent, WebhookRecord, WebhookState
from service.links import Links


class View(BaseModel):
    """A piece of an answer."""

    model_config = ConfigDict(frozen=True)


class FieldProblem(View):
    """One thing that is wrong with a request."""

    field: str = Field(description="Where it is: a field's path, a parameter or a header.")
    detail: str = Field(description="What is wrong with it.")


class Problem(View):
    """An error as RFC 9457 describes it, with a stable word in ``code``."""

    type: str = Field(examples=["urn:sfumato:problem:invalid_request"])
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["unknown sampler 'eular'; there are: euler, heun"])
    instance: str | None = Field(None, examples=["/v1/jobs"])
    code: str = Field(examples=["invalid_request"])
    errors: tuple[FieldProblem, ...] = ()
    request_id: str | None = None
    earliest_s: float | None = Field(
        None, description="The least `deadline_s` that might be met now, where one was refused."
    )
    quota_units: float | None = Field(
        None, description="What the tenant may have outstanding, where that is why."
    )


class ProgressView(View):
    """How far a job is, over all of its pictures."""

    step: int
    total: int
    fraction: float = Field(ge=0, le=1, description="Share of the work that is done.")


class ImageView(View):
    """One finished picture."""

    index: int
    url: str
    seed: int
    width: int
    height: int
    content_type: str
    size_bytes: int


class TimingsView(View):
    """Where a job's time went."""

    queued_s: float | None = Field(description="Time in the queue, null until it is claimed.")
    running_s: float = Field(description="Time held by workers, over all attempts that ended.")
    evaluations: int = Field(description="UNet rows evaluated, recomputed ones included.")


class WebhookView(View):
    """A job's webhook and what has come of it."""

    url: str
    events: tuple[WebhookEvent, ...]
    state: WebhookState = Field(
        description="`waiting` for the end, `pending`, `delivered`, `failed` or `unwanted`."
    )
    attempts: int
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    error: str | None = Field(description="Why the last attempt did not succeed.")


class JobView(View):
    """A job."""

    id: str
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: ProgressView
    queue_position: int | None = Field(
        description="1 is next; an estimate where several tenants wait; null when it does not wait."
    )
    eta_s: float | None = Field(description="Seconds to its end; null while no speed is known.")
    request: JobSpec = Field(description="The request with every default filled in.")
    images: tuple[ImageView, ...]
    preview_url: str | None
    events_url: str
    attempts: int
    worker: str | None
    error: Problem | None
    webhook: WebhookView | None = None
    timings: TimingsView


class UnreadableJob(View):
    """A job whose stored record this service cannot read; it can still be deleted."""

    id: str
    code: str = Field(description="`unreadable_record` or `newer_version`.")
    detail: str


class JobList(View):
    """A page of jobs, newest first; queue position and ETA are told for single jobs only."""

    jobs: tuple[JobView, ...]
    unreadable: tuple[UnreadableJob, ...] = Field(
        (), description="Jobs of this page whose stored records cannot be read."
    )
    cursor: str | None = Field(description="For the next page; null on the last one.")


class ModelList(View):
    """The models that workers have announced."""

    models: tuple[ModelEntry, ...]


class SamplerView(SamplerEntry):
    """A sampler with the models that offer it."""

    models: tuple[str, ...]


class SamplerList(View):
    """All samplers."""

    samplers: tuple[SamplerView, ...]


class WorkerView(View):
    """A live worker."""

    id: str
    host: str
    pid: int
    model: str
    backend: str
    slots: int
    jobs: int
    rows_per_s: float
    started_at: datetime


class ScalingView(View):
    """What an autoscaler has to know of a model."""

    model: str
    backlog_s: float = Field(
        ge=0, description="Work left over one worker's speed; 0 only when nothing is outstanding."
    )
    announced: bool = Field(
        description="False: no worker has announced the model; `backlog_s` is `unannounced_s`."
    )
    pending_units: float = Field(description="Work of queued jobs, in UNet rows.")
    running_units: float = Field(description="Work that running jobs have left.")
    units_per_s: float = Field(
        description="What one worker does with full batches; 0 while nobody has measured it."
    )
    workers: int = Field(description="Live workers.")
    cold_start_s: float = Field(
        description="From a worker's process to its engine's being ready; 0 while unknown."
    )


def moment(seconds: float | None) -> datetime | None:
    """Return a time of the store as a date in UTC."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def job_view(
    record: JobRecord,
    links: Links,
    *,
    queue_position: int | None = None,
    eta_s: float | None = None,
) -> JobView:
    """Return a record as clients see it."""
    fraction = min(1.0, record.units_done / record.units) if record.units > 0 else 0.0
    done = record.status is JobStatus.SUCCEEDED
    return JobView(
        id=record.id,
        status=record.status,
        created_at=datetime.fromtimestamp(record.created_at, UTC),
        started_at=moment(record.started_at),
        finished_at=moment(record.finished_at),
        progress=ProgressView(
            step=record.total_steps if done else record.step,
            total=record.total_steps,
            fraction=1.0 if done else round(fraction, 6),
        ),
        queue_position=queue_position,
        eta_s=None if eta_s is None else round(eta_s, 3),
        request=record.spec,
        images=tuple(
            ImageView(url=links.image(record.id, image.index), **image.model_dump())
            for image in record.images
        ),
        preview_url=links.preview(record.id) if record.preview_step is not None else None,
        events_url=links.events(record.id),
        attempts=record.attempts,
        worker=record.worker,
        error=_failure(record),
        webhook=None if record.webhook is None else webhook_view(record.webhook),
        timings=TimingsView(
            queued_s=_queued_s(record),
            running_s=round(record.running_s, 6),
            evaluations=record.evaluations,
        ),
    )


def webhook_view(record: WebhookRecord) -> WebhookView:
    """Return a webhook as clients see it."""
    return WebhookView(
        url=record.webhook.url,
        events=record.webhook.events,
        state=record.state,
        attempts=record.attempts,
        next_attempt_at=moment(record.due_at),
        delivered_at=moment(record.delivered_at),
        error=record.error,
    )


def _failure(record: JobRecord) -> Problem | None:
    if record.error is None:
        return None
    return Problem(
        type=f"urn:sfumato:problem:{record.error.code}",
        title="The job failed",
        status=500,
        detail=record.error.detail,
        instance=f"/v1/jobs/{record.id}",
        code=record.error.code,
    )


def _queued_s(record: JobRecord) -> float | None:
    if record.finished_at is not None:
        waited = record.finished_at - record.created_at - record.running_s
    elif record.started_at is not None:
        waited = record.started_at - record.created_at
    else:
        return None
    return round(max(0.0, waited), 6)


def worker_view(worker: WorkerEntry) -> WorkerView:
    """Return a worker as clients see it."""
    return WorkerView(
        id=worker.id,
        host=worker.host,
        pid=worker.pid,
        model=worker.model,
        backend=worker.backend,
        slots=worker.slots,
        jobs=worker.jobs,
        rows_per_s=worker.rows_per_s,
        started_at=datetime.fromtimestamp(worker.started_at, UTC),
    )


def scaling_view(signal: ScalingSignal) -> ScalingView:
    """Return the signal as autoscalers see it; rounding makes no small backlog none."""
    return ScalingView(
        model=signal.model,
        backlog_s=float(f"{signal.backlog_s:.6g}"),
        announced=signal.announced,
        pending_units=round(signal.pending_units, 3),
        running_units=round(signal.running_units, 3),
        units_per_s=round(signal.units_per_s, 3),
        workers=signal.workers,
        cold_start_s=round(signal.cold_start_s, 3),
    )
