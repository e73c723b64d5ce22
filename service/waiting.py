"""Waiting for a job's end on behalf of a client that may leave."""

import asyncio
from typing import Any

from fastapi import Request

from jobs.cancelling import end
from jobs.errors import JobsError
from jobs.schema import JobRecord
from service.door import Door


async def wait_for_end(door: Door, request: Request, record: JobRecord, timeout_s: float) -> None:
    """Wait until the job ends, the time is up, the door closes, or the client leaves.

    A client that leaves cancels its job, if it wanted that. The request's body has to be read
    already.
    """
    left = True  # also where Ray Serve tells of it by a cancellation
    try:
        left = await _leaves_first(door, request, record.id, timeout_s)
    finally:
        if left and record.spec.on_disconnect == "cancel":
            door.departed(record.id)


async def _leaves_first(door: Door, request: Request, job_id: str, timeout_s: float) -> bool:
    """Return whether the client left before the job ended, the door closed or the time was up."""
    ended = asyncio.create_task(_ended(door, job_id))
    left = asyncio.create_task(_left(request))
    try:
        with door.attending(job_id):
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
        async for _ in door.store.events(job_id):
            pass
    except JobsError:
        return False  # the job is accepted; the client gets its address instead of its end
    return True


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
