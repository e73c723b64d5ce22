"""Jobs over HTTP: submit, get, list, cancel, delete."""

import contextlib
import math
from typing import Annotated

import structlog
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response
from opentelemetry.trace import SpanKind

from jobs.catalogue import resolve, units, warnings
from jobs.errors import NotDurable, StoreUnavailable
from jobs.schema import JobRecord, JobRequest, JobStatus
from jobs.telemetry.tracing import traceparent
from service.api.caller import GUARDED, Caller, CallerLinks, JobsCaller, OwnJob, OwnJobId
from service.api.waiting import canceled_if_left, wait_for_end, wait_s
from service.door import Door, DoorDep
from service.http.documented import Responses, problems
from service.http.idempotency import KEY_PATTERN, idempotency, parse_key
from service.http.job_ids import new_job_id
from service.http.problem import Refusal, refusal_of
from service.resources.representations import JobList, JobView, UnreadableJob, job_view
from service.webhooks.url import check_url

log = structlog.get_logger()
router = APIRouter(tags=["jobs"])

_JSON = "application/json"
_EXAMPLES = {
    "shortest": {"summary": "Only a prompt", "value": {"prompt": "a red apple"}},
    "full": {
        "summary": "Sampler, steps, guidance and a seed",
        "value": {
            "prompt": "a red apple",
            "negative_prompt": "blurry",
            "num_inference_steps": 20,
            "sampler": "dpmpp_2m",
            "guidance_scale": 3.0,
            "seed": 42,
            "num_images": 2,
            "metadata": {"order": "17"},
        },
    },
}
_SUBMITTED: Responses = {
    200: {
        "model": JobView,
        "description": "The job ended within the time of `Prefer: wait=N`.",
        "headers": {"Preference-Applied": {"schema": {"type": "string"}}},
    },
    202: {
        "description": "The job is queued or running.",
        "headers": {
            "Location": {"schema": {"type": "string"}, "description": "The job's URL."},
            "Retry-After": {
                "schema": {"type": "integer"},
                "description": "Seconds until the next poll.",
            },
        },
    },
}


async def require_json(request: Request) -> None:
    """Check the content type of a request. Raises: Refusal."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != _JSON:
        detail = f"the body must be {_JSON}, not {kind!r}"
        raise Refusal(415, "unsupported_media_type", detail, field="Content-Type")


@router.post(
    "/v1/jobs",
    status_code=202,
    summary="Submit a job",
    dependencies=[Depends(require_json)],
    responses={**_SUBMITTED, **problems(*GUARDED, 400, 408, 413, 415, 422, 501)},
    openapi_extra={"requestBody": {"content": {_JSON: {"examples": _EXAMPLES}}}},
)
async def submit(
    request: Request,
    response: Response,
    body: JobRequest,
    door: DoorDep,
    caller: JobsCaller,
    links: CallerLinks,
    idempotency_key: Annotated[
        str | None,
        Header(
            description="The same key with the same body gives the same job, for a day.",
            json_schema_extra={"pattern": KEY_PATTERN, "examples": ['"8e03978e-40d5-43dd"']},
        ),
    ] = None,
    prefer: Annotated[
        str | None, Header(description="`wait=N`: answer when the job ends, or after N seconds.")
    ] = None,
) -> JobView:
    """Accept a job: 202 with its URL, or with `Prefer: wait=N` 200 with the finished job."""
    key = parse_key(request.headers.getlist("idempotency-key"))
    offered_s = wait_s(",".join(request.headers.getlist("prefer")))
    timeout_s = min(offered_s or 0, door.settings.max_wait_s)
    waits = door.listeners.listening(caller.holder) if timeout_s else contextlib.nullcontext()
    with waits:
        left_cancels = offered_s is not None and body.on_disconnect == "cancel"
        record = await create(door, caller, body, key, left_cancels=left_cancels)
        if offered_s is not None and not record.status.ended:
            await wait_for_end(door, request, record, timeout_s)
            record = await latest(door, record)
    if offered_s is not None:
        response.headers["preference-applied"] = f"wait={timeout_s:g}"
    view = await door.view(record, links)
    path = f"/v1/jobs/{record.id}"
    if offered_s is not None and record.status.ended:
        response.status_code = 200
        response.headers["content-location"] = path
    else:
        pause_s = 1 if view.eta_s is None else min(10, max(1, math.ceil(view.eta_s)))
        response.headers.update({"location": path, "retry-after": str(pause_s)})
    return view


async def create(
    door: Door, caller: Caller, request: JobRequest, key: str | None, *, left_cancels: bool = False
) -> JobRecord:
    """Store the requested job and ring for a worker; a known key returns its first job.

    If the client leaves meanwhile and so cancels this call, the job may be stored already although
    nobody has its id. With ``left_cancels`` it is then canceled.

    Raises:
        JobsError: the request cannot be served, or not now.
    """
    caller.check_priority(request.priority)
    model = await door.model(request.model)
    spec = resolve(request, model, caller.tenant)
    if request.webhook is not None:
        check_url(request.webhook.url, door.settings)
    job_id = new_job_id()
    with (
        canceled_if_left(door, job_id) if left_cancels else contextlib.nullcontext(),
        door.tracing.tracer.start_as_current_span("job submit", kind=SpanKind.PRODUCER) as span,
    ):
        with door.tracing.tracer.start_as_current_span("store create"):
            try:
                created = await door.store.create(
                    job_id,
                    spec,
                    units(spec, model),
                    idempotency=idempotency(key, request),
                    traceparent=traceparent(span),
                    webhook=request.webhook,
                    warnings=warnings(request, spec, model),
                    durable=request.durable,
                )
            except NotDurable as error:
                if error.kept:
                    await ring(door, spec.model, error.job_id)
                raise
        record = created.record
        structlog.contextvars.bind_contextvars(job_id=record.id)
        span.set_attributes({"sfumato.job_id": record.id, "sfumato.units": record.units})
        if created.replayed:
            log.info("job replayed")
            return record
        log.info("job accepted", model=spec.model, sampler=spec.sampler, units=record.units)
        with door.tracing.tracer.start_as_current_span("ring"):
            await ring(door, spec.model, record.id)
    return record


async def ring(door: Door, model: str, job_id: str) -> None:
    """Ring for a worker; if the broker is unavailable, the sweep rings later."""
    try:
        await door.doorbell.ring(model, job_id)
    except StoreUnavailable as error:
        log.warning("ring lost", reason=str(error))


async def latest(door: Door, record: JobRecord) -> JobRecord:
    """Return the job as it is now, or as it was if the store is unavailable."""
    try:
        return await door.store.get(record.id)
    except StoreUnavailable:
        return record


@router.get("/v1/jobs", summary="List jobs", responses=problems(*GUARDED, 400, 422))
async def list_jobs(
    door: DoorDep,
    caller: JobsCaller,
    links: CallerLinks,
    status: Annotated[JobStatus | None, Query(description="Only jobs with this status.")] = None,
    limit: Annotated[int, Query(ge=1, le=100, description="Jobs per page.")] = 20,
    cursor: Annotated[
        str | None,
        Query(
            description="The `cursor` of the previous page.",
            json_schema_extra={"pattern": "^[A-Za-z0-9_-]{1,22}$"},
        ),
    ] = None,
) -> JobList:
    """Return a page of the caller's jobs, newest first; operators see those of all tenants."""
    below = door.cursors.opened(cursor, caller.view)
    page = await door.store.list(tenant=caller.view, status=status, limit=limit, cursor=below)
    views = tuple(job_view(record, links) for record in page.records)
    unreadable = tuple(
        UnreadableJob(id=error.job_id, code=refusal_of(error).code, detail=str(error))
        for error in page.unreadable
    )
    return JobList(
        jobs=views, unreadable=unreadable, cursor=door.cursors.sealed(page.cursor, caller.view)
    )


@router.get("/v1/jobs/{job_id}", summary="Get a job", responses=problems(*GUARDED, 404))
async def get_job(response: Response, door: DoorDep, job: OwnJob, links: CallerLinks) -> JobView:
    """Return a job with its progress, queue position and ETA."""
    response.headers["cache-control"] = "no-store"
    return await door.view(job, links)


@router.post("/v1/jobs/{job_id}/cancel", summary="Cancel a job", responses=problems(*GUARDED, 404))
async def cancel_job(door: DoorDep, job: OwnJob, links: CallerLinks) -> JobView:
    """Cancel a job now; a job that has ended stays as it is."""
    return await door.view(await door.store.cancel(job.id), links)


@router.post(
    "/v1/jobs/{job_id}/finish",
    summary="Finish a job now",
    responses=problems(*GUARDED, 404, 409),
)
async def finish_job(door: DoorDep, job: OwnJob, links: CallerLinks) -> JobView:
    """End a running job at its current step, with its estimates as its images.

    It succeeds within a moment, and `finished_early` says the step. A job that has ended stays as
    it is; one that has not begun has no estimate yet.
    """
    return await door.view(await door.store.finish_now(job.id), links)


@router.delete(
    "/v1/jobs/{job_id}",
    status_code=204,
    summary="Delete a job",
    responses=problems(*GUARDED, 404),
)
async def delete_job(door: DoorDep, job_id: OwnJobId) -> Response:
    """Cancel a job if needed, then delete it with its images and events."""
    await door.store.delete(job_id)
    return Response(status_code=204)
