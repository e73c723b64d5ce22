"""The events of many jobs in one stream: a browser opens six connections to a host, no more."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Sequence
from time import monotonic, time
from typing import Annotated

import orjson
import structlog
from fastapi import APIRouter, Header, Query, Request
from fastapi.responses import Response
from fastapi.sse import format_sse_event

from jobs.cancelling import end
from jobs.errors import JobNotFound, JobsError, StoreUnavailable
from jobs.redis.events import parse_id
from jobs.schema import JobStatus
from service.api.caller import GUARDED, Caller, CallerLinks, JobsCaller
from service.api.events import EVENT, KINDS, frame
from service.door import Door, DoorDep
from service.http.documented import Responses, problems
from service.http.event_stream import STREAM_HEADERS
from service.http.head import is_head
from service.http.job_ids import ID_PATTERN
from service.resources.links import Links

log = structlog.get_logger()
router = APIRouter(tags=["jobs"])

MOST = 1000
"""Jobs of one stream."""
MOST_IDS = 400
"""Of them that a request names: with the ids of this service it is as long as a door takes."""
PAGE = 100
REMEMBERED_S = 60.0
"""For which a job that has ended is known to have been followed."""
LOOK_S = 1.0
"""Between two looks for new jobs of the caller's."""
OVERLAP_MS = 2000
"""A resumed stream goes back so far: several jobs' events do not come in the order of their ids."""
PAUSE_S = 0.25
"""Between two looks whether all jobs have ended."""
WAITING = 256  # frames

Ids = Annotated[
    list[Annotated[str, Query(pattern=ID_PATTERN)]] | None,
    Query(max_length=MOST_IDS, description="Jobs to follow; without any, all of the caller's."),
]


_EVENT = EVENT | {
    "properties": EVENT["properties"] | {"event": {"enum": [*KINDS, "gone"]}},
}
_STREAM: Responses = {
    200: {
        "description": "The events of each job's own stream, and `gone` {job}.",
        "content": {"text/event-stream": {"schema": _EVENT}},
    },
}


@router.get(
    "/v1/events",
    summary="Follow many jobs",
    response_class=Response,
    responses={**_STREAM, **problems(*GUARDED, 400, 414, 422)},
)
async def follow_jobs(
    request: Request,
    door: DoorDep,
    caller: JobsCaller,
    links: CallerLinks,
    job: Ids = None,
    last_event_id: Annotated[
        str | None,
        Header(description="Resume after this event; browsers send it when they reconnect."),
    ] = None,
) -> Response:
    """Stream the events of many jobs, each with the id of its `job`.

    A job's events are those of its own stream; `gone` says that it is not there. Without ids the
    caller's jobs are followed that have not ended, and those to come. After a reconnection some
    events may come twice.
    """
    if is_head(request.scope):
        return Response(headers=STREAM_HEADERS, media_type="text/event-stream")
    after = _earlier(last_event_id or None)
    return door.stream(caller.holder, Many(door, caller, links, after).frames(job))


def _earlier(event_id: str | None) -> str | None:
    """Return an id some time before. Raises: InvalidCursor, it is malformed."""
    parse_id(event_id)
    if event_id is None:
        return None
    return f"{max(0, int(event_id.partition('-')[0]) - OVERLAP_MS)}-0"


class Many:
    """One stream of many jobs' events."""

    def __init__(self, door: Door, caller: Caller, links: Links, after: str | None) -> None:
        """``after`` is the id of an event that all later ones follow."""
        self._door = door
        self._caller = caller
        self._links = links
        self._after = after
        self._frames: asyncio.Queue[bytes] = asyncio.Queue(WAITING)
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def frames(self, ids: list[str] | None) -> AsyncGenerator[bytes]:
        """Yield frames: of these jobs until all have ended, or for a time of the caller's."""
        until = monotonic() + self._door.settings.max_stream_s
        watching = None if ids is not None else asyncio.create_task(self._watch())
        for job_id in dict.fromkeys(ids or ()):
            self._follow(job_id)
        try:
            with self._door.counters.streams.track_inprogress():
                while self._goes_on(ids, until):
                    with contextlib.suppress(TimeoutError):
                        yield await asyncio.wait_for(self._frames.get(), PAUSE_S)
        finally:
            await end(*self._tasks.values(), *([watching] if watching else []))

    def _goes_on(self, ids: list[str] | None, until: float) -> bool:
        if not self._frames.empty():
            return True
        return monotonic() < until if ids is None else bool(self._tasks)

    def _follow(self, job_id: str) -> None:
        task = asyncio.create_task(self._job(job_id))
        self._tasks[job_id] = task
        task.add_done_callback(lambda _: self._tasks.pop(job_id, None))

    async def _job(self, job_id: str) -> None:
        """Put a job's frames into the queue, to its end."""
        door = self._door
        try:
            record = await door.store.get(job_id)
            if not self._caller.sees(record.spec.tenant):
                raise JobNotFound(job_id)
            view = (await door.view(record, self._links)).model_dump(mode="json")
            await self._put("status", view | {"job": job_id, "attempt": record.attempts})
            if record.status.ended and self._after is None:
                return
            with door.following(job_id):
                batches = door.store.event_batches(job_id, self._after)
                async with contextlib.aclosing(batches):
                    async for batch in batches:
                        for event in batch:
                            await self._frames.put(await frame(door, record, event, self._links))
        except JobNotFound:
            await self._put("gone", {"job": job_id})
        except StoreUnavailable as error:  # its client reconnects, and resumes
            log.warning("stream interrupted", reason=str(error))
        except JobsError as error:
            log.warning("a job is not followed", job_id=job_id, reason=str(error))
            await self._put("gone", {"job": job_id})

    async def _put(self, kind: str, data: dict[str, object]) -> None:
        text = orjson.dumps(data).decode()
        await self._frames.put(format_sse_event(data_str=text, event=kind))

    async def _watch(self) -> None:
        """Follow the caller's jobs that had not ended when the stream began, and those to come.

        A resumed stream began where it is resumed.
        """
        since = time() if self._after is None else int(self._after.partition("-")[0]) / 1000
        known: dict[str, None] = {}
        lists: Sequence[JobStatus | None] = (JobStatus.QUEUED, JobStatus.RUNNING, None)
        while True:
            began = time()
            try:
                for status in lists:
                    await self._follow_new(status, known, since)
            except JobsError as error:
                log.warning("new jobs are not seen", reason=str(error))
            else:
                lists = (None,)  # those that wait and run are known now
                since = max(since, began - REMEMBERED_S)
            while len(known) > 2 * MOST:
                del known[next(iter(known))]
            await asyncio.sleep(LOOK_S)

    async def _follow_new(
        self, status: JobStatus | None, known: dict[str, None], since: float
    ) -> None:
        """Follow the newest jobs of a list, back to a page without any that is new."""
        cursor: str | None = None
        for _ in range(MOST // PAGE):
            page = await self._door.store.list(
                tenant=self._caller.tenant, status=status, limit=PAGE, cursor=cursor
            )
            new = [
                record.id
                for record in page.records
                if record.id not in known
                and not (record.status.ended and (record.finished_at or 0.0) < since)
            ][: MOST - len(self._tasks)]
            for job_id in new:
                known[job_id] = None
                self._follow(job_id)
            cursor = page.cursor
            if cursor is None or not new:
                return
