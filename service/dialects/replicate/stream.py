"""A prediction's server-sent events: ``logs``, then ``output`` or ``error``, and ``done``."""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from typing import Literal

import structlog
from fastapi.sse import format_sse_event

from jobs.errors import JobNotFound, JobsError, StoreUnavailable
from jobs.schema import JobRecord, JobStatus
from service.dialects.drawing import events_in_time
from service.dialects.replicate.predictions import failure, image_files, preamble, progress
from service.door import Door
from service.http.problem import Refusal
from service.resources.links import Links

log = structlog.get_logger()

Kind = Literal["logs", "output", "error", "done"]
BEGINNING = "0-0"
"""The id of what precedes the job's first event: clients drop events without an id."""


async def frames(door: Door, record: JobRecord, links: Links) -> AsyncGenerator[bytes]:
    """Yield a job's log line by line, then its images or an error, and ``done``."""
    last = BEGINNING
    yield _frame("logs", preamble(record), last)
    try:
        async with aclosing(events_in_time(door, record)) as events:
            async for event in events:
                last = event.id
                if event.kind == "progress":
                    yield _frame("logs", progress(event.data["step"], record), last)
        record = await door.store.get(record.id)
        end = _end(record, await image_files(door, record, links), last)
    except JobNotFound:
        end = _failed(f"job {record.id} was deleted", last)
    except Refusal as refusal:
        end = _failed(refusal.detail, last)
    except StoreUnavailable as error:
        log.warning("stream interrupted", reason=str(error))
        return
    except JobsError as error:
        end = _failed(str(error), last)
    for frame in end:
        yield frame


def _end(record: JobRecord, urls: list[str] | None, last: str) -> Iterator[bytes]:
    if record.status is JobStatus.CANCELED:
        yield _frame("done", '{"reason": "canceled"}', last)
    elif urls is None:
        expired = f"the images of job {record.id} have expired"
        yield from _failed(failure(record) or expired, last)
    else:
        for url in urls:
            yield _frame("output", url, last)
        yield _frame("done", "{}", last)


def _failed(reason: str, last: str) -> Iterator[bytes]:
    yield _frame("error", reason, last)
    yield _frame("done", '{"reason": "error"}', last)


def _frame(kind: Kind, data: str, event_id: str) -> bytes:
    return format_sse_event(data_str=data, event=kind, id=event_id)
