"""The JSON that clients read: jobs, models, workers, errors."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from jobs.catalogue import ModelEntry, SamplerEntry
from jobs.scaling import ScalingSignal
from jobs.schema import JobRecord, JobSpec, JobStatus, WarningCode
from jobs.webhook import WebhookEvent, WebhookRecord, WebhookState
from service.resources.links import Links


def _round(value: float) -> float:
    return round(value, 3)


Rounded = Annotated[float, AfterValidator(_round)]


class View(BaseModel):
    """Part of a response."""

    model_config = ConfigDict(frozen=True, from_attributes=True)


class FieldProblem(View):
    """One invalid part of a request."""

    field: str = Field(description="A field's path, a parameter or a header.")
    detail: str = Field(description="What is wrong with it.")


class Problem(View):
    """An error according to RFC 9457, with a stable identifier in ``code``."""

    type: str = Field(examples=["urn:sfumato:problem:invalid_request"])
    title: str = Field(examples=["Invalid request"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["unknown sampler 'eular'; available: euler, heun"])
    instance: str | None = Field(None, examples=["/v1/jobs"])
    code: str = Field(examples=["invalid_request"])
    errors: tuple[FieldProblem, ...] = ()
    request_id: str | None = None
    earliest_s: Rounded | None = Field(
        None, description="The least `deadline_s` that could be met now, if one was refused."
    )
    quota_units: float | None = Field(
        None, description="The units a tenant may have outstanding, if that is the reason."
    )


class ProgressView(View):
    """A job's progress over all of its images."""

    step: int
    total: int
    fraction: float = Field(ge=0, le=1, description="Share of the work done.")


class WarningView(View):
    """Something that was cut, ignored, lowered or repeated."""

    code: str = Field(
        description="docs/warnings.md explains each.",
        examples=[WarningCode.PROMPT_TRUNCATED],
        json_schema_extra={"enum": [code.value for code in WarningCode]},
    )
    detail: str = Field(description="One sentence for people.")


class ImageView(View):
    """One finished image."""

    index: int
    url: str
    seed: int = Field(
        description="The job's `seed` + `index`: a job of one image with it draws the same one."
    )
    width: int
    height: int
    content_type: str
    size_bytes: int


class TimingsView(View):
    """How a job's time was spent."""

    queued_s: float | None = Field(description="Time in the queue; null until the job starts.")
    running_s: float = Field(description="Time at workers, over all attempts that have ended.")
    evaluations: int = Field(description="UNet evaluations, including repeated ones.")


class WebhookView(View):
    """A job's webhook and its delivery."""

    url: str
    events: tuple[WebhookEvent, ...]
    state: WebhookState = Field(
        description="`waiting` for the job to end, `pending`, `delivered`, `failed` or `unwanted`."
    )
    attempts: int
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    error: str | None = Field(description="Why the last attempt failed.")


class JobView(View):
    """A job."""

    id: str
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: ProgressView
    queue_position: int | None = Field(
        description="1 is next; an estimate if several tenants wait; null if the job is not queued."
    )
    eta_s: float | None = Field(description="Seconds until it ends; null while no speed is known.")
    request: JobSpec = Field(description="The request with all defaults filled in.")
    images: tuple[ImageView, ...]
    preview_url: str | None
    events_url: str
    attempts: int
    finished_early: int | None = Field(
        None, description="The step at which its images were asked to end, before the last."
    )
    worker: str | None = Field(
        description="The last worker that claimed it; with API keys, operators alone see its name."
    )
    error: Problem | None
    warnings: tuple[WarningView, ...] = Field(
        (), description="What of the request was cut, ignored, lowered or repeated."
    )
    webhook: WebhookView | None = None
    timings: TimingsView


class UnreadableJob(View):
    """A job whose stored record this service cannot read; it can still be deleted."""

    id: str
    code: str = Field(description="`unreadable_record` or `newer_version`.")
    detail: str


class JobList(View):
    """A page of jobs, newest first; queue positions and ETAs are given for single jobs only."""

    jobs: tuple[JobView, ...]
    unreadable: tuple[UnreadableJob, ...] = Field(
        (), description="Jobs of this page whose stored records cannot be read."
    )
    cursor: str | None = Field(description="Of the next page; null on the last one.")


class ModelView(ModelEntry):
    """A model, and whether a job for it begins at once."""

    warm: bool = Field(description="A live worker has its weights loaded.")


class ListedModel(View):
    """A model as OpenAI's API lists it."""

    id: str
    object: Literal["model"] = "model"
    created: int = Field(0, description="Unknown: 0.")
    owned_by: str = "sfumato"


class OneModel(ModelView, ListedModel):
    """A model by its name, as our clients and OpenAI's read it."""


class ModelList(View):
    """The models that workers have announced."""

    models: tuple[ModelView, ...]
    object: Literal["list"] = "list"
    data: tuple[ListedModel, ...] = Field((), description="The same, as OpenAI's clients read it.")


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
    draining: bool = Field(description="It gives its jobs back and takes none.")
    loaded: bool = Field(description="The model's weights are loaded there.")


class ScalingView(View):
    """What an autoscaler needs to know about a model."""

    model: str
    backlog_s: float = Field(
        ge=0, description="Outstanding work over one worker's speed; 0 only if there is none."
    )
    announced: bool = Field(
        description="False if no worker has announced the model: `backlog_s` is `unannounced_s`."
    )
    pending_units: Rounded = Field(description="Work of queued jobs, in UNet rows.")
    running_units: Rounded = Field(description="Remaining work of running jobs.")
    units_per_s: Rounded = Field(
        description="Speed of one worker with full batches; 0 until it is measured."
    )
    workers: int = Field(description="Live workers.")
    cold_start_s: Rounded = Field(
        description="Time from a worker's start until its engine is ready; 0 if unknown."
    )


def moment(seconds: float | None) -> datetime | None:
    """Return a time of the store in UTC."""
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
        finished_early=record.finished_early,
        worker=links.worker(record.worker),
        error=failure_view(record),
        warnings=tuple(WarningView.model_validate(each) for each in record.warnings),
        webhook=None if record.webhook is None else webhook_view(record.webhook),
        timings=timings_view(record),
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


def failure_view(record: JobRecord) -> Problem | None:
    """Return why a job failed; None if it did not."""
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


def timings_view(record: JobRecord) -> TimingsView:
    """Return how a job's time was spent."""
    return TimingsView(
        queued_s=_queued_s(record),
        running_s=round(record.running_s, 6),
        evaluations=record.evaluations,
    )


def _queued_s(record: JobRecord) -> float | None:
    if record.finished_at is not None:
        waited = record.finished_at - record.created_at - record.running_s
    elif record.started_at is not None:
        waited = record.started_at - record.created_at
    else:
        return None
    return round(max(0.0, waited), 6)


def scaling_view(signal: ScalingSignal) -> ScalingView:
    """Return the signal as autoscalers see it; rounding never makes a small backlog 0."""
    backlog_s = float(f"{signal.backlog_s:.6g}")
    return ScalingView.model_validate(replace(signal, backlog_s=backlog_s))
