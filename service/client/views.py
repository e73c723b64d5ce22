"""A door's responses, as far as this client knows them; fields of newer doors are kept."""

from datetime import datetime
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict


class JobStatus(StrEnum):
    """Where a job is: ``queued → running → succeeded | failed | canceled | expired``."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"

    @property
    def ended(self) -> bool:
        """Whether the status is final."""
        return self not in (JobStatus.QUEUED, JobStatus.RUNNING)


class View(BaseModel):
    """Part of a response."""

    model_config = ConfigDict(frozen=True, extra="allow")


class FieldProblem(View):
    """One invalid part of a request."""

    field: str  # a field's path, a parameter or a header
    detail: str


class Problem(View):
    """An error according to RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    instance: str | None = None
    code: str  # stable
    errors: tuple[FieldProblem, ...] = ()
    request_id: str | None = None
    earliest_s: float | None = None  # the smallest deadline_s that could be met now
    quota_units: float | None = None  # the units that a tenant may have outstanding


class ProgressView(View):
    """A job's progress over all of its images."""

    step: int
    total: int
    fraction: float  # of the work, 0 to 1


class PreviewsView(View):
    """Which previews a job sends."""

    every: int  # steps between them; 0: none
    of: str  # estimate or sample
    size: int | None  # maximum pixels of the longer side


class RequestView(View):
    """A job's request with every default filled in."""

    tenant: str
    model: str
    prompt: str
    negative_prompt: str
    prompt_syntax: str = "plain"
    num_inference_steps: int
    sampler: str
    schedule: str
    eta: float | None
    guidance_scale: float
    guidance_rescale: float
    seed: int
    width: int
    height: int
    num_images: int
    priority: str
    deadline_s: float | None
    on_disconnect: str
    preview: int | PreviewsView  # a number of steps, where that says all
    output_format: str
    metadata: dict[str, str]


class ImageView(View):
    """One finished image."""

    index: int
    url: str
    seed: int  # with it, a job of one image draws the same one
    width: int
    height: int
    content_type: str
    size_bytes: int


class WarningView(View):
    """Something that was cut, ignored, lowered or repeated."""

    code: str
    detail: str


class TimingsView(View):
    """How a job's time was spent."""

    queued_s: float | None
    running_s: float
    evaluations: int


class WebhookView(View):
    """A job's webhook and its delivery."""

    url: str
    events: tuple[str, ...]
    state: str
    attempts: int
    next_attempt_at: datetime | None
    delivered_at: datetime | None
    error: str | None


class JobView(View):
    """A job."""

    id: str
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: ProgressView
    queue_position: int | None  # 1 is next
    eta_s: float | None  # seconds until it ends; None while no speed is known
    request: RequestView
    images: tuple[ImageView, ...]
    preview_url: str | None
    events_url: str
    attempts: int
    finished_early: int | None = None  # the step at which it was ended early
    worker: str | None
    error: Problem | None
    warnings: tuple[WarningView, ...] = ()
    webhook: WebhookView | None = None
    timings: TimingsView


class OriginView(View):
    """How an image was made."""

    worker: str
    model_sha256: str
    backend: str
    device: str
    deterministic: bool  # its bytes do not depend on other images in the batch
    sampler_table_version: int
    eta: float | None  # as used
    versions: dict[str, str]  # by package


class DrawnImageView(View):
    """An image's file in a manifest, and how it was made."""

    index: int
    seed: int
    width: int
    height: int
    content_type: str
    size_bytes: int
    sha256: str | None = None
    origin: OriginView | None = None


class Manifest(View):
    """An ended job, and everything that its images depend on."""

    id: str
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    request: dict[str, Any]  # the request that draws the images again
    images: tuple[DrawnImageView, ...]
    finished_early: int | None
    attempts: int
    error: Problem | None
    warnings: tuple[WarningView, ...]
    timings: TimingsView


class UnreadableJob(View):
    """A job whose stored record the door cannot read."""

    id: str
    code: str
    detail: str


class JobList(View):
    """A page of jobs, newest first."""

    jobs: tuple[JobView, ...]
    unreadable: tuple[UnreadableJob, ...] = ()
    cursor: str | None  # of the next page; None on the last one


class SamplerView(View):
    """A sampler; n > 1 steps take rows_per_step · n + an offset evaluations."""

    name: str
    title: str
    stochastic: bool
    order: int
    rows_per_step: int
    rows_offset: int
    rows_offsets: dict[str, int] = {}
    uses_eta: bool
    default_schedule: str
    few_rows: dict[str, dict[int, int]] = {}
    schedules: tuple[str, ...]
    max_steps: int
    schedule_max_steps: dict[str, int] = {}


class SharedSamplerView(SamplerView):
    """A sampler with the models that offer it."""

    models: tuple[str, ...]


class SamplerList(View):
    """All samplers."""

    samplers: tuple[SharedSamplerView, ...]


class ModelView(View):
    """A model with its limits and defaults."""

    name: str
    title: str
    sha256: str
    width: int  # the base resolution, in pixels
    height: int
    min_side: int
    max_side: int
    side_multiple: int
    max_pixels: int
    default_steps: int
    default_sampler: str
    default_schedule: str | None = None  # None: each sampler's own
    default_guidance_scale: float
    embeds_guidance: bool = False
    prompt: str = "text"  # or class or none
    prompt_syntaxes: tuple[str, ...] = ("plain",)
    classes: int | None = None
    class_names: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    samplers: tuple[SamplerView, ...]
    units_per_s: float = 0.0  # of one worker; 0: not measured
    cold_start_s: float = 0.0
    load_s: float = 0.0
    pool: tuple[str, ...] = ()
    warm: bool  # a live worker has it loaded


class ModelList(View):
    """The models that workers have announced."""

    models: tuple[ModelView, ...]


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
    draining: bool
    loaded: bool
