"""What all dialects do with a request: create a job, wait, and check how it ended."""

import asyncio
import base64
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping
from dataclasses import replace
from time import monotonic
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from pydantic import ValidationError

from jobs.schema import JobRecord, JobRequest, JobStatus
from jobs.store import Event
from service.api.caller import Caller
from service.api.jobs import create, latest
from service.api.waiting import wait_for_end
from service.door import Door
from service.http.problem import Refusal
from service.resources.links import Links


def job_of(fields: Mapping[str, Any]) -> JobRequest:
    """Return the equivalent request of our own API; fields that are None are left out.

    Raises:
        RequestValidationError: a value is invalid; fields are named as in our own API.
    """
    given = {name: value for name, value in fields.items() if value is not None}
    try:
        return JobRequest.model_validate(given)
    except ValidationError as error:
        found = [each | {"loc": ("body", *each["loc"])} for each in error.errors()]
        raise RequestValidationError(found) from error


async def drawn(
    door: Door, request: Request, caller: Caller, job: JobRequest, key: str | None
) -> JobRecord:
    """Create a job, or find the one with this key, and return it once it has succeeded.

    Raises:
        Refusal: it ended otherwise, or it takes too long.
        JobsError: it cannot be served, or not now.
    """
    with door.listeners.listening(caller.holder):
        record = await create(door, caller, job, key)
        if not record.status.ended:
            await wait_for_end(door, request, record, door.settings.dialect_wait_s)
            record = await latest(door, record)
    check_ended(record)
    return record


async def streamed(
    door: Door,
    caller: Caller,
    job: JobRequest,
    key: str | None,
    frames: Callable[[JobRecord], AsyncGenerator[bytes]],
) -> Response:
    """Create a job, or find the one with this key, and return a stream of its events.

    Raises:
        Refusal: the caller has too many streams; no job was created.
        JobsError: it cannot be served, or not now.
    """
    with door.listeners.listening(caller.holder):
        record = await create(door, caller, job, key)
    return door.stream(caller.holder, frames(record))


async def events_in_time(door: Door, record: JobRecord) -> AsyncGenerator[Event]:
    """Yield a job's events until it ends. Raises: Refusal, it takes too long."""
    ends_at = monotonic() + door.settings.dialect_wait_s
    with door.following(record.id), door.counters.streams.track_inprogress():
        async with contextlib.aclosing(door.store.event_batches(record.id, None)) as batches:
            while True:
                try:
                    batch = await asyncio.wait_for(anext(batches), ends_at - monotonic())
                except StopAsyncIteration:
                    return
                except TimeoutError:
                    raise not_ended(record) from None
                for event in batch:
                    yield event


def check_ended(record: JobRecord) -> None:
    """Refuse a job that has no images, or none yet. Raises: Refusal."""
    if record.status is JobStatus.SUCCEEDED:
        return
    if record.error is not None:
        filtered = record.error.code == "content_filtered"
        raise Refusal(400 if filtered else 500, record.error.code, record.error.detail)
    if record.status.ended:
        raise Refusal(409, "not_drawn", f"job {record.id} is {record.status}")
    raise not_ended(record)


def not_ended(record: JobRecord) -> Refusal:
    """Return the refusal of a request whose job has not ended; a retry waits for the same job."""
    detail = f"job {record.id} has not ended yet: see GET /v1/jobs/{record.id}"
    return Refusal(408, "not_ended", detail, retry_after_s=1)


def data_url(content_type: str, data: bytes) -> str:
    """Return a URL that is the data itself."""
    return f"data:{content_type};base64,{base64.b64encode(data).decode()}"


def absolute(request: Request, links: Links) -> Links:
    """Return absolute links: on the host that the client called, if there is no public URL."""
    if links.public_url:
        return links
    return replace(links, public_url=str(request.base_url).rstrip("/"))
