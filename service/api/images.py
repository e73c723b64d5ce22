"""A job's images, their manifest, and the latest preview."""

import hashlib
from typing import Annotated

from fastapi import APIRouter, Header, Path
from fastapi.responses import Response

from jobs.errors import JobNotFound
from jobs.schema import MAX_IMAGES
from service.api.caller import GUARDED, CallerLinks, OwnJob
from service.api.link_access import ImagesJob, PreviewJob
from service.door import DoorDep
from service.http.documented import Responses, problems
from service.http.entity_tag import entity_tag, matches
from service.http.problem import Refusal
from service.resources.manifest import Manifest, manifest

router = APIRouter(tags=["pictures"])

CACHE = "private, max-age=3600, immutable"  # a finished image never changes
_IMAGE: Responses = {
    200: {
        "description": "The image.",
        "content": {
            "image/png": {"schema": {"type": "string", "format": "binary"}},
            "image/webp": {"schema": {"type": "string", "format": "binary"}},
            "image/jpeg": {"schema": {"type": "string", "format": "binary"}},
            "image/avif": {"schema": {"type": "string", "format": "binary"}},
        },
        "headers": {"ETag": {"schema": {"type": "string"}}},
    },
}


@router.get(
    "/v1/jobs/{job_id}/images/{index}",
    summary="Get a finished image",
    response_class=Response,
    responses={
        **_IMAGE,
        304: {"description": "The client's copy is current."},
        **problems(*GUARDED, 404, 410, 422),
    },
)
async def get_image(
    door: DoorDep,
    job: ImagesJob,
    index: Annotated[int, Path(ge=0, lt=MAX_IMAGES, description="The image's number, from 0.")],
    if_none_match: Annotated[
        str | None, Header(description="ETags of the client's copies.")
    ] = None,
) -> Response:
    """Return the bytes of a finished image; 410 once it has expired."""
    kept = next((image for image in job.images if image.index == index), None)
    if kept and kept.sha256 and if_none_match is not None and not job.results_dropped:
        tag = entity_tag(kept.sha256)
        if matches(if_none_match, tag):
            return Response(status_code=304, headers=_headers(tag))
    try:
        image = await door.store.image(job.id, index)
    except JobNotFound as error:
        if error.job_id == job.id:  # deleted meanwhile
            raise
        detail = f"job {job.id} has no image {index}"
        raise Refusal(404, "not_found", detail) from error
    tag = entity_tag(image.record.sha256 or hashlib.sha256(image.data).hexdigest())
    headers = _headers(tag)
    if if_none_match is not None and matches(if_none_match, tag):
        return Response(status_code=304, headers=headers)
    suffix = image.record.content_type.rpartition("/")[2]
    headers["content-disposition"] = f'inline; filename="{job.id}-{index}.{suffix}"'
    return Response(image.data, headers=headers, media_type=image.record.content_type)


@router.get(
    "/v1/jobs/{job_id}/manifest",
    summary="Get a job's manifest: how its images were made",
    responses=problems(*GUARDED, 404, 409),
)
async def get_manifest(response: Response, job: OwnJob, links: CallerLinks) -> Manifest:
    """Return an ended job's request, seeds, hashes, versions and worker, even of expired images.

    Post its `request` to `/v1/jobs` to draw them again. If every `origin` is the same and
    `deterministic`, so are the bytes.
    """
    if not job.status.ended:
        raise Refusal(409, "not_ended", f"job {job.id} is {job.status} and has no manifest yet")
    response.headers["cache-control"] = "no-store"
    return manifest(job, links)


@router.get(
    "/v1/jobs/{job_id}/preview",
    summary="Get the latest preview",
    response_class=Response,
    responses={**_IMAGE, **problems(*GUARDED, 404)},
)
async def get_preview(door: DoorDep, job: PreviewJob) -> Response:
    """Return the latest preview: an estimate of the finished image, or the noisy sample."""
    found = await door.store.latest_preview(job.id)
    if found is None:
        raise Refusal(404, "not_found", f"job {job.id} has no preview")
    content_type, data = found
    headers = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
    return Response(data, headers=headers, media_type=content_type)


def _headers(tag: str) -> dict[str, str]:
    return {"etag": tag, "cache-control": CACHE, "x-content-type-options": "nosniff"}
