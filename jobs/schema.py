"""A job: its request, the spec that is stored, and the record of its life."""

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    StringConstraints,
)
from pydantic_core import PydanticCustomError

from jobs.validation.bounds import BoundedRequest, at_most
from jobs.validation.prompt_schedule import PromptSyntax
from jobs.webhook import Webhook, WebhookRecord

SCHEMA_VERSION = 2
"""The newest version of a record that is read here; a reader leaves a newer one alone.

2: previews that are more than a number of steps, and a syntax of prompts. A record has the least
version that can read it (`JobSpec.schema_version`), so that former doors and workers go on with all
others.
"""

MAX_PROMPT_CHARS = 4000
MAX_STEPS = 1000
MAX_SEED = 2**63 - 1  # what a JSON integer, a Redis string and a client's int64 all hold
MAX_DRAWN_SEED = 2**32 - 1
"""No seed that the service draws is greater: JavaScript and jq read numbers as doubles."""
MAX_SIDE = 4096
MAX_IMAGES = 16
MAX_METADATA = 32
PUBLIC = "public"
"""The tenant of jobs submitted without an API key."""


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


class Priority(StrEnum):
    """The class a job waits in; a higher class is always claimed first."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 for the class claimed first."""
        return ("high", "normal", "low").index(self.value)


Durable = Literal["relaxed", "strict"]
OutputFormat = Literal["png", "webp", "jpeg", "avif"]
OnDisconnect = Literal["continue", "cancel"]
Prompt = Annotated[str, StringConstraints(max_length=MAX_PROMPT_CHARS)]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=64)]
MetadataValue = Annotated[str, StringConstraints(max_length=512)]
Tenant = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")]
FiniteFloat = Annotated[float, Field(allow_inf_nan=False)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
Moment = Annotated[float, Field(ge=0, le=253402300799, allow_inf_nan=False)]
"""Seconds since 1970, up to the year 9999, the last that a response's dates can express."""


PreviewOf = Literal["estimate", "sample"]


class Previews(BoundedRequest):
    """Which previews a job sends."""

    every: int = Field(
        1,
        ge=0,
        le=MAX_STEPS,
        description="Steps between previews; 0 disables them. "
        "They are also limited to a few per second.",
    )
    of: PreviewOf = Field(
        "estimate",
        description="What they show: the network's `estimate` of the finished image, or the noisy "
        "`sample` itself.",
    )
    size: int | None = Field(
        None,
        ge=1,
        le=MAX_SIDE,
        description="Maximum length of the longer side, in pixels. Previews are never scaled up.",
    )

    @property
    def in_short(self) -> "int | Previews":
        """The number of steps if everything else is default, otherwise the object."""
        return self.every if self == Previews(every=self.every) else self


def _previews(value: Any) -> Any:
    """Return a number of steps as previews."""
    if isinstance(value, bool) or not isinstance(value, int | dict | Previews):
        text = "should be a number of steps, or an object with every, of and size"
        raise PydanticCustomError("previews", text)
    return {"every": value} if isinstance(value, int) else value


StepsOrPreviews = Annotated[
    Previews,
    BeforeValidator(
        _previews, json_schema_input_type=Annotated[int, Field(ge=0, le=MAX_STEPS)] | Previews
    ),
    PlainSerializer(lambda previews: previews.in_short, return_type=int | Previews),
]
"""Previews, or just the number of steps between them, as in former versions."""


class JobRequest(BoundedRequest):
    """The body of ``POST /v1/jobs``. Only ``prompt`` is required; unknown fields are rejected."""

    prompt: Prompt = Field(description="What the image should show.", examples=["a red apple"])
    model: str | None = Field(
        None, max_length=64, description="A model from `/v1/models`. Defaults to the service's."
    )
    negative_prompt: Prompt = Field("", description="What the image should not show.")
    prompt_syntax: PromptSyntax = Field(
        "plain",
        description="How to read prompts: `plain`, as text; `a1111`, with brackets that weight or "
        "change them and up to four chunks, as in AUTOMATIC1111's web UI; `a1111_mean`, likewise, "
        "but weights also restore the mean of each chunk's states.",
    )
    num_inference_steps: int | None = Field(
        None, ge=1, le=MAX_STEPS, description="Sampling steps. Defaults to the model's."
    )
    sampler: str | None = Field(
        None, max_length=64, description="A sampler from `/v1/samplers`. Defaults to the model's."
    )
    schedule: str | None = Field(
        None,
        max_length=64,
        description="Spacing of the noise levels; `model` is what the model's own scheduler does. "
        "Defaults to the model's if the sampler has it, else to the sampler's.",
    )
    eta: FiniteFloat | None = Field(
        None, ge=0.0, le=1.0, description="Share of fresh noise, for samplers that use it."
    )
    guidance_scale: FiniteFloat | None = Field(
        None,
        ge=1.0,
        le=30.0,
        description="Guidance scale; 1 disables guidance. Defaults to the model's.",
    )
    guidance_rescale: FiniteFloat = Field(
        0.0,
        ge=0.0,
        le=1.0,
        description="How far guidance is rescaled against overexposure (Lin et al. 2023).",
    )
    seed: int | None = Field(
        None,
        ge=0,
        le=MAX_SEED,
        description="Image i is the one that a job of one image draws with `seed` + i. "
        "If absent, chosen at random, below 2^32, and returned.",
    )
    width: int | None = Field(
        None, ge=8, le=MAX_SIDE, description="Width in pixels. Defaults to the model's."
    )
    height: int | None = Field(
        None, ge=8, le=MAX_SIDE, description="Height in pixels. Defaults to the model's."
    )
    num_images: int = Field(1, ge=1, le=MAX_IMAGES, description="Number of images to draw.")
    priority: Priority = Field(
        Priority.NORMAL, strict=False, description="The class in which the job waits."
    )
    deadline_s: FiniteFloat | None = Field(
        None, gt=0, le=7 * 86400, description="Seconds from now after which the job expires."
    )
    on_disconnect: OnDisconnect = Field(
        "continue",
        description="Whether to cancel the job when a waiting or streaming client disconnects. "
        "A client that reconnects within the grace period keeps the job if it reaches the same "
        "replica of the door.",
    )
    preview: StepsOrPreviews = Field(
        Previews(),
        description="Which previews are sent; a number is the number of steps between them.",
        json_schema_extra={"default": 1},
    )
    output_format: OutputFormat = Field(
        "png", description="File format of the images; `png` and `webp` are lossless."
    )
    webhook: Webhook | None = Field(None, description="Where to report the job's end.")
    durable: Durable | None = Field(
        None,
        description="`strict`: respond once the job would survive the loss of Redis' host. "
        "Defaults to the service's setting.",
    )
    metadata: Annotated[dict[MetadataKey, MetadataValue], at_most(MAX_METADATA)] = Field(
        default_factory=dict,
        max_length=MAX_METADATA,
        description="Your own strings, returned unchanged.",
    )


class JobSpec(BaseModel):
    """A request with every default filled in: all that a worker needs to draw the images."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    tenant: Tenant = PUBLIC  # set by the door, never by the request
    model: str
    prompt: str
    negative_prompt: str
    prompt_syntax: PromptSyntax = "plain"
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
    priority: Priority
    deadline_s: float | None
    on_disconnect: OnDisconnect
    preview: StepsOrPreviews
    output_format: OutputFormat
    metadata: dict[str, str]

    @property
    def schema_version(self) -> int:
        """The version of a record with this spec: the least that can read it."""
        plain = self.prompt_syntax == "plain" and isinstance(self.preview.in_short, int)
        return 1 if plain else 2

    def stored(self) -> str:
        """Return it as JSON, without fields unknown to version 1 that have their defaults."""
        plain = self.prompt_syntax == "plain"
        return self.model_dump_json(exclude={"prompt_syntax"} if plain else None)

    def image_seed(self, image: int) -> int:
        """Return the seed of one image: a job with it draws the image alone."""
        return self.seed + image


class ImageOrigin(BaseModel):
    """How an image was made, according to the worker that finished it."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    worker: str = Field(description="With API keys on, an alias for all but operators.")
    model_sha256: str = Field(description="As in `/v1/models`.")
    backend: str = Field(description="`torch` (float32), `torch-bf16`, `onnx-fp32`, ….")
    device: str = Field(description="The GPU's name, or the processor's.")
    deterministic: bool = Field(description="Its bytes do not depend on other images in the batch.")
    sampler_table_version: int = Field(description="The version of the sampler tables and noise.")
    eta: float | None = Field(description="As used; null: the sampler has none.")
    versions: dict[str, str] = Field(
        description="Versions of Sfumato and its libraries, by package."
    )


class ImageRecord(BaseModel):
    """One finished image of a job; its bytes are stored under a key of their own."""

    model_config = ConfigDict(frozen=True)

    index: Count
    seed: Annotated[int, Field(ge=0, lt=2**64)]  # the job's + index
    width: Count
    height: Count
    content_type: str
    size_bytes: Count
    sha256: str | None = None  # of the bytes; None: stored before it was kept
    origin: ImageOrigin | None = None  # likewise


FAILURE_CODES = (
    "non_finite", "out_of_memory", "invalid_request", "content_filtered", "internal", "worker_died",
)  # fmt: skip
"""Why jobs fail, as metrics count it."""


class JobError(BaseModel):
    """Why a job failed."""

    model_config = ConfigDict(frozen=True)

    code: str  # one of FAILURE_CODES
    detail: str  # one sentence for people


class WarningCode(StrEnum):
    """What of a request was cut, ignored, lowered, repeated or blurred."""

    PROMPT_TRUNCATED = "prompt_truncated"
    NEGATIVE_PROMPT_TRUNCATED = "negative_prompt_truncated"
    PROMPT_WEIGHT_LIMITED = "prompt_weight_limited"
    PROMPT_IGNORED = "prompt_ignored"
    NEGATIVE_PROMPT_IGNORED = "negative_prompt_ignored"
    GUIDANCE_SCALE_IGNORED = "guidance_scale_ignored"
    GUIDANCE_RESCALE_IGNORED = "guidance_rescale_ignored"
    ETA_IGNORED = "eta_ignored"
    SCHEDULE_IGNORED = "schedule_ignored"
    PREVIEW_IGNORED = "preview_ignored"
    STEPS_LOWERED = "num_inference_steps_lowered"
    STARTED_OVER = "started_over"
    CONTENT_BLURRED = "content_blurred"


class JobWarning(BaseModel):
    """What a client may have expected otherwise; the job runs all the same."""

    model_config = ConfigDict(frozen=True)

    code: str  # a WarningCode, or one of a newer version
    detail: str  # one sentence for people


class JobRecord(BaseModel):
    """One job as the store holds it. Times are seconds since 1970, by Redis' clock."""

    model_config = ConfigDict(frozen=True)

    schema_version: int = SCHEMA_VERSION
    id: str
    status: JobStatus
    spec: JobSpec
    units: Amount  # total work: UNet evaluations of one row at the model's base resolution
    units_done: Amount = 0.0
    step: Count = 0  # sampling steps finished, over all images
    total_steps: Count  # num_inference_steps · num_images
    created_at: Moment
    queued_at: Moment  # the last transition into ``queued``
    started_at: Moment | None = None  # the first claim
    finished_at: Moment | None = None
    expires_at: Moment | None = None  # the deadline
    attempts: Count = 0  # claims
    deaths: Count = 0  # process deaths since the last new checkpoint
    worker: str | None = None  # the last one that claimed it
    images: tuple[ImageRecord, ...] = ()
    results_dropped: bool = False  # the images' bytes are gone
    error: JobError | None = None
    warnings: tuple[JobWarning, ...] = ()  # at most one of a code
    finished_early: Count | None = None  # the step at which its images were asked to end
    evaluations: Count = 0  # UNet rows evaluated, recomputed ones included
    running_s: Amount = 0.0  # time with workers, over all attempts
    preview_step: Count | None = None  # step of the newest preview kept
    webhook: WebhookRecord | None = None
    traceparent: str | None = None  # W3C trace context of the span that created the job
