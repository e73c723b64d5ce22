"""fal's API, as its own clients call it: direct runs, and a queue of requests."""

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import JSONResponse, Response

from jobs.errors import JobNotFound
from jobs.schema import JobRecord, JobStatus
from service.api.caller import CallerLinks, JobsCaller, OwnJob
from service.api.jobs import create, require_json
from service.dialects.dialect import Dialect
from service.dialects.drawing import drawn, streamed
from service.dialects.fal.answers import by_https, events_of, result_of, status_of
from service.dialects.fal.arguments import App, Arguments, Terms
from service.dialects.fal.errors import ErrorBody, refused, responses
from service.dialects.retries import key_until_answered
from service.door import DoorDep
from service.http.idempotency import parse_key
from service.http.problem import Refusal

router = APIRouter(prefix="/fal", tags=["fal"])


async def own_request(app: App, job: OwnJob) -> JobRecord:
    """Return the job in the path. Raises: JobNotFound, also if another application has it."""
    if job.spec.model != app:
        raise JobNotFound(job.id)
    return job


OwnRequest = Annotated[JobRecord, Depends(own_request)]


@router.post(
    "/run/{owner}/{model}",
    summary="Draw images as fal does",
    dependencies=[Depends(require_json)],
    responses=responses("The images.", 400, 408, 410, 413, 415, 501),
)
async def run(
    request: Request, app: App, body: Arguments, terms: Terms, door: DoorDep, caller: JobsCaller,
    links: CallerLinks,
) -> JSONResponse:  # fmt: skip
    """Draw images and return them."""
    job = body.job(app, terms, preview=0)
    given = parse_key(request.headers.getlist("idempotency-key"))
    async with key_until_answered(door, caller, request, job, given) as key:
        record = await drawn(door, request, caller, job, key)
        return _answer(record, await result_of(door, by_https(request, links), record))


@router.post(
    "/run/{owner}/{model}/stream",
    summary="Draw an image as fal streams it",
    dependencies=[Depends(require_json)],
    response_class=Response,
    responses=responses(
        "Estimates of the image, then the image.", 400, 408, 413, 415, 501,
        media="text/event-stream",
    ),
)  # fmt: skip
async def stream(
    request: Request, app: App, body: Arguments, terms: Terms, door: DoorDep, caller: JobsCaller,
    links: CallerLinks,
) -> Response:  # fmt: skip
    """Draw an image, and stream estimates of it until it is finished."""
    if (body.num_images or 1) > 1:
        detail = "num_images must be 1 when streaming"
        raise Refusal(422, "invalid_request", detail, field="num_images")
    key = parse_key(request.headers.getlist("idempotency-key"))
    found = by_https(request, links)
    return await streamed(
        door, caller, body.job(app, terms, preview=1), key, lambda job: events_of(door, found, job)
    )


@router.post(
    "/queue/{owner}/{model}",
    summary="Submit a request as fal does",
    dependencies=[Depends(require_json)],
    responses=responses("The request's id and URLs.", 400, 408, 413, 415, 501),
)
async def submit(
    request: Request, app: App, body: Arguments, terms: Terms, door: DoorDep, caller: JobsCaller,
    links: CallerLinks,
    fal_webhook: Annotated[str | None, Query(description="Refused.")] = None,
) -> JSONResponse:  # fmt: skip
    """Accept a request and return its id and URLs."""
    if fal_webhook is not None:
        detail = "fal's webhooks are not supported; use `webhook` in POST /v1/jobs"
        raise Refusal(422, "invalid_request", detail, field="fal_webhook")
    job = body.job(app, terms, preview=0)
    given = parse_key(request.headers.getlist("idempotency-key"))
    async with key_until_answered(door, caller, request, job, given) as key:
        record = await create(door, caller, job, key)
        return _answer(record, await status_of(door, by_https(request, links), record, logs=False))


@router.get(
    "/queue/{owner}/{model}/requests/{job_id}",
    summary="Get a request's images as fal does",
    responses=responses("The images.", 400, 408, 410),
)
async def result(
    request: Request, job: OwnRequest, door: DoorDep, links: CallerLinks
) -> JSONResponse:
    """Return the images of a request that has ended."""
    return _answer(job, await result_of(door, by_https(request, links), job))


@router.get(
    "/queue/{owner}/{model}/requests/{job_id}/status",
    summary="Get a request's status as fal does",
    responses=responses("`IN_QUEUE`, `IN_PROGRESS` or `COMPLETED`."),
)
async def status(
    request: Request,
    job: OwnRequest,
    door: DoorDep,
    links: CallerLinks,
    logs: Annotated[bool, Query(description="Include the request's log.")] = False,
) -> JSONResponse:
    """Return a request's status: its queue position, or whether it is running or done."""
    return _answer(job, await status_of(door, by_https(request, links), job, logs=logs))


@router.put(
    "/queue/{owner}/{model}/requests/{job_id}/cancel",
    summary="Cancel a request as fal does",
    status_code=202,
    responses=responses("The request is canceled.", 400, success=202),
)
async def cancel(job: OwnRequest, door: DoorDep) -> JSONResponse:
    """Cancel a request; one that has already ended is left alone."""
    record = await door.store.cancel(job.id)
    if record.status is JobStatus.CANCELED:
        return JSONResponse({"status": "CANCELLATION_REQUESTED"}, status_code=202)
    ended = ErrorBody(detail=f"job {job.id} has {record.status}", error_type="already_completed")
    return JSONResponse({"status": "ALREADY_COMPLETED"} | ended.model_dump(), status_code=400)


def _answer(job: JobRecord, body: dict[str, Any]) -> JSONResponse:
    return JSONResponse(body, headers={"cache-control": "no-store", "x-fal-request-id": job.id})


FAL = Dialect("fal", router, re.compile(r"/fal/.*", re.DOTALL), refused)
