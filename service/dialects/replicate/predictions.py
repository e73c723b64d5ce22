"""A job as Replicate's clients know it: a prediction."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import Field

from jobs.errors import JobNotFound, ResultExpired
from jobs.schema import JobRecord, JobStatus
from service.dialects.drawing import data_url
from service.dialects.replicate.models import OWNER
from service.door import Door
from service.resources.links import Links
from service.resources.representations import View, moment

Status = Literal["starting", "processing", "succeeded", "failed", "canceled"]

STATUSES: dict[JobStatus, Status] = {
    JobStatus.QUEUED: "starting",
    JobStatus.RUNNING: "processing",
    JobStatus.SUCCEEDED: "succeeded",
    JobStatus.FAILED: "failed",
    JobStatus.CANCELED: "canceled",
    JobStatus.EXPIRED: "failed",
}
HIDDEN = "hidden"
"""The version of a model that is not announced any more; Replicate says so of some of its own."""
MOST_BYTES = 8 * 2**20
"""Of a prediction's images that are sent as data."""
BAR_CHARS = 10


class Urls(View):
    """Where to get, cancel and stream a prediction."""

    get: str
    cancel: str
    stream: str = Field(description="Opens without a key.")


class Metrics(View):
    """How long an ended prediction took, in seconds."""

    predict_time: float = Field(description="On workers.")
    total_time: float = Field(description="From creation to end.")


class Prediction(View):
    """A prediction."""

    id: str = Field(description="The job's id.")
    model: str
    version: str
    status: Status
    input: dict[str, str | int | float] = Field(
        description="The input, with all defaults filled in."
    )
    output: tuple[str, ...] | None = Field(
        description="Links to the images, or data URLs if links would not be `https`."
    )
    logs: str = Field(description="The seed, warnings and progress.")
    error: str | None
    metrics: Metrics | None
    created_at: datetime
    started_at: datetime | None
    completed_at: datetime | None
    data_removed: bool = Field(description="The images have expired.")
    source: Literal["api"] = "api"
    urls: Urls


class PredictionList(View):
    """A page of predictions, newest first."""

    previous: None = None
    next: str | None
    results: tuple[Prediction, ...]


def prediction(
    record: JobRecord, known: Mapping[str, str], links: Links, output: Sequence[str] | None
) -> Prediction:
    """Return a job as a prediction; ``known`` is by `versions`, and the links are absolute."""
    url = f"{links.public_url}/v1/predictions/{record.id}"
    return Prediction(
        id=record.id,
        model=f"{OWNER}/{record.spec.model}",
        version=known.get(record.spec.model, HIDDEN),
        status=STATUSES[record.status],
        input=_input(record),
        output=None if output is None else tuple(output),
        logs=logs(record),
        error=failure(record),
        metrics=_metrics(record),
        created_at=datetime.fromtimestamp(record.created_at, UTC),
        started_at=moment(record.started_at),
        completed_at=moment(record.finished_at),
        data_removed=record.results_dropped,
        urls=Urls(get=url, cancel=f"{url}/cancel", stream=links.stream(record.id)),
    )


async def versions(door: Door) -> dict[str, str]:
    """Return each announced model's version, by the model's name."""
    return {entry.name: entry.sha256 for entry in await door.models.get()}


def image_links(record: JobRecord, links: Links) -> list[str] | None:
    """Return links to a job's images; None unless it has them all."""
    if record.status is not JobStatus.SUCCEEDED or record.results_dropped:
        return None
    return [links.image(record.id, image.index) for image in record.images]


async def image_files(door: Door, record: JobRecord, links: Links) -> list[str] | None:
    """Return URLs that clients open as files: links if they are ``https``, or else the data.

    Of many bytes there are links all the same.
    """
    urls = image_links(record, links)
    total = sum(image.size_bytes for image in record.images)
    if urls is None or links.public_url.startswith("https:") or total > MOST_BYTES:
        return urls
    try:
        return [await _data_url(door, record.id, image.index) for image in record.images]
    except (JobNotFound, ResultExpired):  # meanwhile
        return None


async def _data_url(door: Door, job_id: str, index: int) -> str:
    image = await door.store.image(job_id, index)
    return data_url(image.record.content_type, image.data)


def failure(record: JobRecord) -> str | None:
    """Return why a job failed; None if it did not."""
    if record.error is not None:
        return record.error.detail
    if record.status is JobStatus.EXPIRED:
        return f"job {record.id} did not end before its deadline"
    return None


def logs(record: JobRecord) -> str:
    """Return a job's log: its seed and warnings, and its progress once it has started."""
    if record.started_at is None:
        return preamble(record)
    done = record.status is JobStatus.SUCCEEDED
    return preamble(record) + progress(record.total_steps if done else record.step, record)


def preamble(record: JobRecord) -> str:
    """Return the lines of a log that precede its progress."""
    warnings = [f"Warning: {each.detail}\n" for each in record.warnings]
    return "".join([f"Using seed: {record.spec.seed}\n", *warnings])


def progress(step: int, record: JobRecord) -> str:
    """Return a line in tqdm's format, from which clients read the progress."""
    share = step / record.total_steps
    bar = "█" * int(BAR_CHARS * share)
    return f"{int(100 * share):3d}%|{bar:<{BAR_CHARS}}| {step}/{record.total_steps}\n"


def _input(record: JobRecord) -> dict[str, str | int | float]:
    spec = record.spec
    return {
        "prompt": spec.prompt,
        "negative_prompt": spec.negative_prompt,
        "num_inference_steps": spec.num_inference_steps,
        "guidance_scale": spec.guidance_scale,
        "seed": spec.seed,
        "width": spec.width,
        "height": spec.height,
        "num_outputs": spec.num_images,
        "output_format": spec.output_format,
        "scheduler": spec.sampler,
    }


def _metrics(record: JobRecord) -> Metrics | None:
    if record.finished_at is None:
        return None
    total_s = max(0.0, record.finished_at - record.created_at)
    return Metrics(predict_time=round(record.running_s, 6), total_time=round(total_s, 6))
