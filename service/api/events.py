"""A job's server-sent events, resumable with ``Last-Event-ID``."""

import base64
import contextlib
from collections.abc import AsyncGenerator
from typing import Annotated, Any

import orjson
import structlog
from fastapi import APIRouter, Header, Request
from fastapi.responses import Response
from fastapi.sse import format_sse_event

from jobs.errors import JobNotFound, StoreUnavailable
from jobs.redis.events import parse_id
from jobs.schema import JobRecord
from jobs.store import Event
from service.api.caller import GUARDED, CallerLinks
from service.api.link_access import EventsJob
from service.door import Door, DoorDep
from service.http.documented import Responses, problems
from service.http.event_stream import STREAM_HEADERS
from service.http.head import is_head
from service.resources.links import Links

log = structlog.get_logger()
router = APIRouter(tags=["jobs"])

KINDS = ("status", "progress", "preview", "result")
EVENT: dict[str, Any] = {  # the schema of one parsed event
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": {"enum": KINDS},
        "data": {"type": "string", "contentMediaType": "application/json"},
        "id": {"type": "string", "pattern": r"^\d+-\d+$"},
    },
}
_STREAM: Responses = {
    200: {
        "description": (
            "`status` (the job), `progress` {job, step, total, eta_s}, `preview` {job, image, "
            "step, of, content_type, data in base64} and finally `result` (the job), each with "
            "`attempt`."
        ),
        "content": {
            "text/event-stream": {
                "schema": EVENT,
                "example": (
                    "event: progress\n"
                    'data: {"step":7,"total":20,"eta_s":1.4,"attempt":1}\n'
                    "id: 1767225600000-3\n\n"
                ),
            }
        },
    },
    204: {"description": "`Last-Event-ID` is the job's last event: none will follow."},
}


@router.get(
    "/v1/jobs/{job_id}/events",
    summary="Follow a job",
    response_class=Response,
    responses={**_STREAM, **problems(*GUARDED, 400, 404)},
)
async def follow_job(
    request: Request,
    door: DoorDep,
    record: EventsJob,
    links: CallerLinks,
    last_event_id: Annotated[
        str | None,
        Header(description="Resume after this event; browsers send it when they reconnect."),
    ] = None,
) -> Response:
    """Stream a job's events: a snapshot, then the past events that are kept, then new ones."""
    if is_head(request.scope):
        return Response(headers=STREAM_HEADERS, media_type="text/event-stream")
    last_event_id = last_event_id or None  # browsers send an empty one before the first event
    parse_id(last_event_id)
    holder = request.state.caller.holder
    events = door.store.event_batches(record.id, last_event_id)
    first: tuple[Event, ...] = ()
    with door.listeners.listening(holder):
        if record.status.ended and last_event_id is not None:
            try:
                first = await anext(events)
            except StopAsyncIteration:
                return Response(status_code=204)  # makes an EventSource stop reconnecting

    def on_left() -> None:
        if record.spec.on_disconnect == "cancel" and not record.status.ended:
            door.client_left(record.id)

    return door.stream(holder, frames(door, record, first, events, links), on_left)


async def frames(
    door: Door,
    record: JobRecord,
    first: tuple[Event, ...],
    events: AsyncGenerator[tuple[Event, ...]],
    links: Links,
) -> AsyncGenerator[bytes]:
    """Yield the stream's frames; the snapshot has no id, so that a client keeps its last one."""
    with door.following(record.id), door.counters.streams.track_inprogress():
        snapshot = await _job(door, record, links)
        yield format_sse_event(data_str=_json(snapshot, record.attempts), event="status")
        try:
            if first:
                yield await shared(door, record, first, links)
            async with contextlib.aclosing(events):
                async for batch in events:
                    yield await shared(door, record, batch, links)
        except JobNotFound:
            return  # deleted meanwhile
        except StoreUnavailable as error:
            log.warning(
                "stream interrupted", reason=str(error)
            )  # its client reconnects and resumes


async def shared(door: Door, record: JobRecord, batch: tuple[Event, ...], links: Links) -> bytes:
    """Return events as they are sent; those who follow a job by the same links share them.

    Raises:
        JobNotFound: the job has been deleted.
    """

    async def make() -> bytes:
        return b"".join([await frame(door, record, event, links) for event in batch])

    return await door.frames.get((record.id, batch[0].id, batch[-1].id, links), make)


async def frame(door: Door, record: JobRecord, event: Event, links: Links) -> bytes:
    """Return an event as it is sent. Raises: JobNotFound, the job has been deleted."""
    data: dict[str, Any]
    if event.kind == "preview":
        data = event.data | {"data": base64.b64encode(event.data["data"]).decode()}
        data["job"] = record.id
    elif event.kind == "progress":
        step, eta = event.data["step"], event.data["eta_s"]
        data = {"step": step, "total": record.total_steps, "eta_s": eta, "job": record.id}
    else:
        data = await _job(door, await door.store.get(record.id), links) | {"job": record.id}
    return format_sse_event(data_str=_json(data, event.attempt), event=event.kind, id=event.id)


async def _job(door: Door, record: JobRecord, links: Links) -> dict[str, Any]:
    return (await door.view(record, links)).model_dump(mode="json")


def _json(data: dict[str, Any], attempt: int) -> str:
    return orjson.dumps(data | {"attempt": attempt}).decode()
