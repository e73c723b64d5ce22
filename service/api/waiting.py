"""``Prefer: wait=N`` (RFC 7240): waiting for a job's end on behalf of a client."""

import asyncio
import contextlib
import re
from collections.abc import Iterator
from typing import Any

from fastapi import Request

from jobs.cancelling import end
from jobs.errors import JobsError
from jobs.schema import JobRecord
from service.door import Door
from service.http.event_stream import disconnected

_WAIT = re.compile(r'\s*wait\s*=\s*"?(\d{1,6})"?\s*(?:;.*)?', re.IGNORECASE)


def wait_s(header: str | None) -> int | None:
    """Return the seconds that a ``Prefer`` header offers to wait, None if it does not say.

    A malformed preference is ignored, as the RFC requires.
    """
    for preference in (header or "").split(","):
        match = _WAIT.fullmatch(preference)
        if match:
            return int(match.group(1))
    return None


@contextlib.contextmanager
def canceled_if_left(door: Door, job_id: str) -> Iterator[None]:
    """Cancel the job if the block is cancelled, which means that its client has left."""
    try:
        yield
    except asyncio.CancelledError:
        door.client_left(job_id)
        raise


async def wait_for_end(door: Door, request: Request, record: JobRecord, timeout_s: float) -> None:
    """Wait until the job ends, the time is up, the door closes, or the client leaves.

    A client that leaves cancels its job if the job says so. The request's body has to be read
    already.
    """
    left = True  # also when this is cancelled, which is how Ray Serve signals a disconnect
    try:
        left = await _leaves_first(door, request, record.id, timeout_s)
    finally:
        if left and record.spec.on_disconnect == "cancel":
            door.client_left(record.id)


async def _leaves_first(door: Door, request: Request, job_id: str, timeout_s: float) -> bool:
    """Return whether the client left before the job ended, the door closed or the time was up."""
    ended = asyncio.create_task(_ended(door, job_id))
    left = asyncio.create_task(disconnected(request.receive))
    try:
        with door.following(job_id):
            awaited: set[asyncio.Future[Any]] = {ended, left, door.closing}
            done, _ = await asyncio.wait(
                awaited, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
            )
    finally:
        await end(ended, left)
    if ended in done and not ended.cancelled() and ended.result():
        return False
    return left in done and not door.closing.done()


async def _ended(door: Door, job_id: str) -> bool:
    try:
        await door.store.ended(job_id)
    except JobsError:
        return False  # the job is accepted; the client gets its URL instead of its result
    return True
