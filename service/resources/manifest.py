"""How a job's images were made, to keep with them and to draw them again."""

from datetime import UTC, datetime
from typing import Any

from pydantic import Field

from jobs.schema import ImageRecord, JobRecord, JobRequest, JobStatus
from service.resources.links import Links
from service.resources.representations import (
    Problem,
    TimingsView,
    View,
    WarningView,
    failure_view,
    moment,
    timings_view,
)


class Manifest(View):
    """An ended job, and everything that its images depend on."""

    id: str
    status: JobStatus
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    request: dict[str, Any] = Field(
        description="The request with all defaults filled in, without its webhook: a body for "
        "`POST /v1/jobs` that draws the images again."
    )
    images: tuple[ImageRecord, ...] = Field(
        description="The image files; they may have expired, but the manifest is kept with the job."
    )
    finished_early: int | None = Field(
        description="The step at which the job was ended early; drawn again, it runs to the last."
    )
    attempts: int
    error: Problem | None
    warnings: tuple[WarningView, ...]
    timings: TimingsView


def manifest(record: JobRecord, links: Links) -> Manifest:
    """Return the manifest of a job that has ended."""
    return Manifest(
        id=record.id,
        status=record.status,
        created_at=datetime.fromtimestamp(record.created_at, UTC),
        started_at=moment(record.started_at),
        finished_at=moment(record.finished_at),
        request=request_of(record),
        images=tuple(_image(image, links) for image in record.images),
        finished_early=record.finished_early,
        attempts=record.attempts,
        error=failure_view(record),
        warnings=tuple(WarningView.model_validate(each) for each in record.warnings),
        timings=timings_view(record),
    )


def request_of(record: JobRecord) -> dict[str, Any]:
    """Return a body that submits the job again, whatever the defaults are by then."""
    request = record.spec.model_dump(mode="json", include=set(JobRequest.model_fields))
    if request["eta"] is None:
        used = (image.origin.eta for image in record.images if image.origin is not None)
        request["eta"] = next(used, None)
    return request


def _image(image: ImageRecord, links: Links) -> ImageRecord:
    """Return an image with the worker's name as the caller may see it."""
    if image.origin is None:
        return image
    origin = image.origin.model_copy(update={"worker": links.worker(image.origin.worker)})
    return image.model_copy(update={"origin": origin})
