"""The routes of Replicate's API. Its errors are problem details (RFC 9457), as ours are."""

import contextlib
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.responses import Response
from pydantic import Field

from jobs.schema import JobRecord, JobRequest
from jobs.telemetry.text import shown
from jobs.validation.bounds import KnownFields, at_most
from service.api.caller import GUARDED, AnyCaller, Caller, CallerLinks, JobsCaller, OwnJob
from service.api.jobs import create, latest, require_json
from service.api.link_access import EventsJob
from service.api.waiting import wait_for_end, wait_s
from service.dialects.dialect import Dialect
from service.dialects.drawing import absolute
from service.dialects.replicate import models
from service.dialects.replicate.predictions import (
    Prediction,
    PredictionList,
    image_files,
    image_links,
    prediction,
    versions,
)
from service.dialects.replicate.stream import frames
from service.dialects.retries import key_until_answered
from service.door import Door, DoorDep
from service.http.documented import Responses, problems
from service.http.event_stream import STREAM_HEADERS
from service.http.head import is_head
from service.http.idempotency import parse_key
from service.http.problem import Refusal
from service.resources.links import Links

router = APIRouter(tags=["Replicate"])

USUAL_WAIT_S = 60
"""Of ``Prefer: wait`` without a number; clients give up half a second later."""
MAX_EVENTS = 4
"""Kinds of events that Replicate's webhooks know."""
NO_WEBHOOK = "is not supported here; use `webhook` in POST /v1/jobs, which has its own format"


class NewPrediction(KnownFields):
    """The body of a request."""

    input: models.Input
    stream: bool | None = Field(None, description="No effect: every prediction can be streamed.")
    webhook: str | None = Field(None, description="Refused.")
    webhook_events_filter: Annotated[list[str], at_most(MAX_EVENTS)] | None = Field(
        None, description="Refused."
    )

    def check(self) -> None:
        """Refuse webhooks. Raises: Refusal."""
        for field in ("webhook", "webhook_events_filter"):
            if getattr(self, field) is not None:
                raise Refusal(400, "not_supported", f"{field} {NO_WEBHOOK}", field=field)


class NewPredictionOfVersion(NewPrediction):
    """The body of a request that names a version."""

    version: str = Field(
        description="A version's id, `sfumato/NAME` or `sfumato/NAME:ID`.", max_length=256
    )


Prefer = Annotated[
    str | None, Header(description="`wait` or `wait=N`: respond when it ends, or after N seconds.")
]
_CREATED: Responses = problems(*GUARDED, 400, 404, 408, 413, 415, 422, 501)


@router.post(
    "/v1/predictions",
    summary="Create a prediction of a version",
    status_code=201,
    dependencies=[Depends(require_json)],
    responses=_CREATED,
)
async def create_of_version(
    request: Request,
    body: NewPredictionOfVersion,
    door: DoorDep,
    caller: JobsCaller,
    links: CallerLinks,
    prefer: Prefer = None,
) -> Prediction:
    """Accept a job; respond at once or, with `Prefer: wait`, when it ends."""
    body.check()
    job = body.input.job(await models.of_version(door, body.version))
    return await _created(door, request, caller, links, job, prefer)


@router.post(
    "/v1/models/{owner}/{model}/predictions",
    summary="Create a prediction of a model",
    status_code=201,
    dependencies=[Depends(require_json)],
    responses=_CREATED,
)
async def create_of_model(
    request: Request,
    owner: str,
    model: str,
    body: NewPrediction,
    door: DoorDep,
    caller: JobsCaller,
    links: CallerLinks,
    prefer: Prefer = None,
) -> Prediction:
    """Accept a job; respond at once or, with `Prefer: wait`, when it ends."""
    body.check()
    job = body.input.job(await models.named(door, owner, model))
    return await _created(door, request, caller, links, job, prefer)


async def _created(
    door: Door, request: Request, caller: Caller, links: Links, job: JobRequest, prefer: str | None
) -> Prediction:
    record = await _waited(door, request, caller, job, _wait_s(prefer))
    view = await _view(door, request, links, record)
    if record.status.ended:
        return view
    # Clients take any other status, even of a running job, for its end.
    return view.model_copy(update={"status": "starting"})


async def _waited(
    door: Door, request: Request, caller: Caller, job: JobRequest, offered_s: int
) -> JobRecord:
    """Create a job and return it when it ends or the time is up."""
    timeout_s = min(offered_s, door.settings.max_wait_s)
    given = parse_key(request.headers.getlist("idempotency-key"))
    waits = door.listeners.listening(caller.holder) if timeout_s else contextlib.nullcontext()
    with waits:
        async with key_until_answered(door, caller, request, job, given) as key:
            record = await create(door, caller, job, key)
            if timeout_s and not record.status.ended:
                await wait_for_end(door, request, record, timeout_s)
                record = await latest(door, record)
    return record


def _wait_s(prefer: str | None) -> int:
    """Return the seconds that a client offers to wait."""
    if any(each.strip().lower() == "wait" for each in (prefer or "").split(",")):
        return USUAL_WAIT_S
    return wait_s(prefer) or 0


async def _view(door: Door, request: Request, links: Links, record: JobRecord) -> Prediction:
    links = absolute(request, links)
    files = await image_files(door, record, links)
    return prediction(record, await versions(door), links, files)


@router.get("/v1/predictions", summary="List predictions", responses=problems(*GUARDED, 400, 422))
async def list_predictions(
    request: Request,
    door: DoorDep,
    caller: JobsCaller,
    links: CallerLinks,
    cursor: Annotated[str | None, Query(description="From the `next` of a page.")] = None,
) -> PredictionList:
    """Return a page of the caller's jobs, newest first, with links to their images."""
    below = door.cursors.opened(cursor, caller.view)
    page = await door.store.list(tenant=caller.view, cursor=below)
    links = absolute(request, links)
    further = door.cursors.sealed(page.cursor, caller.view)
    known = await versions(door)
    return PredictionList(
        next=None if further is None else f"{links.public_url}/v1/predictions?cursor={further}",
        results=tuple(
            prediction(each, known, links, image_links(each, links)) for each in page.records
        ),
    )


@router.get(
    "/v1/predictions/{job_id}", summary="Get a prediction", responses=problems(*GUARDED, 404)
)
async def get_prediction(
    request: Request, response: Response, door: DoorDep, job: OwnJob, links: CallerLinks
) -> Prediction:
    """Return a job as a prediction."""
    response.headers["cache-control"] = "no-store"
    return await _view(door, request, links, job)


@router.post(
    "/v1/predictions/{job_id}/cancel",
    summary="Cancel a prediction",
    responses=problems(*GUARDED, 404),
)
async def cancel_prediction(
    request: Request, door: DoorDep, job: OwnJob, links: CallerLinks
) -> Prediction:
    """Cancel a job; one that has already ended is left alone."""
    return await _view(door, request, links, await door.store.cancel(job.id))


@router.get(
    "/v1/jobs/{job_id}/events/replicate",  # where a link to the job's events opens it
    summary="Stream a prediction",
    response_class=Response,
    responses={
        200: {
            "description": "`logs`, then `output` for each image or an `error`, and `done`.",
            "content": {"text/event-stream": {"schema": {"type": "object"}}},
        },
        **problems(*GUARDED, 404),
    },
)
async def stream_prediction(
    request: Request, door: DoorDep, job: EventsJob, links: CallerLinks
) -> Response:
    """Stream a job's log from the beginning, then its images."""
    if is_head(request.scope):
        return Response(headers=STREAM_HEADERS, media_type="text/event-stream")
    return door.stream(request.state.caller.holder, frames(door, job, absolute(request, links)))


@router.get(
    "/v1/models/{owner}/{model}",
    summary="Get a model as Replicate does",
    responses=problems(*GUARDED, 404),
)
async def get_model(
    request: Request, owner: str, model: str, door: DoorDep, caller: AnyCaller, links: CallerLinks
) -> models.Model:
    """Return a model with its version, whose schema describes the input of a prediction."""
    found = await models.named(door, owner, model)
    url = f"{absolute(request, links).public_url}/v1/models/{models.OWNER}/{found.name}"
    return models.model_view(found, url)


@router.get(
    "/v1/models/{owner}/{model}/versions",
    summary="List a model's versions",
    responses=problems(*GUARDED, 404),
)
async def list_versions(
    owner: str, model: str, door: DoorDep, caller: AnyCaller
) -> models.VersionList:
    """Return a model's only version."""
    found = await models.named(door, owner, model)
    return models.VersionList(results=(models.version_of(found),))


@router.get(
    "/v1/models/{owner}/{model}/versions/{version}",
    summary="Get a model's version",
    responses=problems(*GUARDED, 404),
)
async def get_version(
    owner: str, model: str, version: str, door: DoorDep, caller: AnyCaller
) -> models.Version:
    """Return a model's version."""
    found = models.version_of(await models.named(door, owner, model))
    if version != found.id:
        detail = f"{owner}/{model} has no version {shown(version)}; available: {found.id}"
        raise Refusal(404, "not_found", detail)
    return found


REPLICATE = Dialect("replicate", router)
