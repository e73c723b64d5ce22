"""Watching a worker's batch, which the worker publishes only while somebody asks."""

import asyncio
from collections.abc import AsyncGenerator
from time import monotonic

import orjson
import structlog
from fastapi.sse import format_sse_event

from jobs.errors import TransientStoreError
from jobs.fleet import Batch, WorkerEntry
from jobs.telemetry.text import shown
from service.door import Door
from service.http.problem import Refusal
from service.resources.batch import BatchView, batch_view

log = structlog.get_logger()
ANSWER_S = 3.0
"""For a worker to publish its first snapshot: it notices within a second that it is watched."""
LOOK_S = 0.1
POLL_S = 0.25
"""A stream's polling interval: half of the interval between snapshots."""


async def newest(door: Door, worker_id: str) -> Batch:
    """Return a worker's current batch, waiting for it to publish one.

    Raises:
        Refusal: 404, there is no such worker; 503, its model is not loaded, or it does not respond.
    """
    worker = await _live(door, worker_id)
    if worker is None:
        raise Refusal(404, "unknown_worker", f"there is no live worker {shown(worker_id)}")
    until = monotonic() + ANSWER_S
    while (batch := await door.store.watch_batch(worker_id)) is None:
        if not worker.loaded:
            detail = f"worker {shown(worker_id)} has not loaded {shown(worker.model)}"
            raise Refusal(503, "worker_silent", detail, retry_after_s=5)
        if monotonic() > until:
            detail = f"worker {shown(worker_id)} has not responded within {ANSWER_S:g} s"
            raise Refusal(503, "worker_silent", detail, retry_after_s=1)
        await asyncio.sleep(LOOK_S)
    return batch


async def _live(door: Door, worker_id: str) -> WorkerEntry | None:
    for read in (door.workers.get, door.workers.refresh):
        for worker in await read():
            if worker.id == worker_id:
                return worker
    return None


async def view(door: Door, batch: Batch, after: int | None) -> BatchView:
    """Return a batch as clients see it, with its changes ``after`` a sequence number."""
    return batch_view(batch, (await door.backlog(batch.model)).pending_jobs, after)


async def frames(door: Door, batch: Batch, after: int | None) -> AsyncGenerator[bytes]:
    """Yield each snapshot from ``batch`` on, with the changes since the previous one.

    It ends with `gone` if the worker is gone, and without it if the stream's time is up or the
    store is unavailable: then the client reconnects.
    """
    until = monotonic() + door.settings.max_stream_s
    try:
        with door.counters.streams.track_inprogress():
            while monotonic() < until:
                shows = await view(door, batch, after)
                after = batch.sequence
                yield format_sse_event(
                    data_str=shows.model_dump_json(), event="batch", id=f"{after}"
                )
                found = await _next(door, batch, until)
                if found is None:
                    break
                batch = found
            if await _live(door, batch.worker) is None:
                gone = orjson.dumps({"worker": batch.worker}).decode()
                yield format_sse_event(data_str=gone, event="gone")
    except TransientStoreError as error:
        log.warning("stream interrupted", worker=batch.worker, reason=str(error))


async def _next(door: Door, last: Batch, until: float) -> Batch | None:
    """Return the next snapshot; None once the stream's time is up or the worker is gone."""
    looked_at = monotonic()
    while monotonic() < until:
        await asyncio.sleep(POLL_S)
        batch = await door.store.watch_batch(last.worker)
        if batch is not None and batch.at != last.at:
            return batch
        if monotonic() - looked_at > ANSWER_S:
            looked_at = monotonic()
            await door.workers.refresh()
            if await _live(door, last.worker) is None:
                return None
    return None
