"""Following jobs' event streams: one connection wakes every listener of a process."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from jobs.errors import InvalidCursor, StoreUnavailable
from jobs.redis_trouble import trouble
from jobs.schema import JobStatus
from jobs.store import Event

log = structlog.get_logger()
MOST_AT_ONCE = 64
RECHECK_S = 5.0  # a wake-up lost with its connection is made up for
_ID = re.compile(r"\d{1,18}-\d{1,18}")


def parse_id(after: str | None) -> str:
    """Return a stream id to read after.

    Raises:
        InvalidCursor: it is not an event id.
    """
    if after is None:
        return "0-0"
    if not _ID.fullmatch(after):
        raise InvalidCursor(f"{after!r} is not an event id")
    return after


class EventHub:
    """Wakes the listeners of a job whenever its stream grows; they read the stream themselves.

    One subscription serves all listeners of the process: a thousand open streams hold no
    connection of their own.
    """

    def __init__(self, redis: "Redis", prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._listeners: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    async def follow(self, job_id: str, after: str) -> AsyncIterator[Event]:
        """Yield events after an id until the result, or until the job is deleted.

        An outage is waited out. Raises: StoreUnavailable where Redis refuses to tell them.
        """
        wake = asyncio.Event()
        self._listeners.setdefault(job_id, set()).add(wake)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen())
        key, job_key = f"{self._prefix}:events:{job_id}", f"{self._prefix}:job:{job_id}"
        try:
            while True:
                wake.clear()
                try:
                    pipe = self._redis.pipeline(transaction=False)
                    pipe.hget(job_key, "status")  # before the events: a result comes with its end
                    pipe.xrange(key, f"({after}", "+", count=MOST_AT_ONCE)
                    status, found = await pipe.execute()
                    entries = cast(list[tuple[bytes, Mapping[bytes, bytes]]], found)
                except (RedisError, OSError) as error:
                    if trouble(error) is None:  # it will not pass by itself
                        raise StoreUnavailable(f"no events of {job_id}: {error}") from error
                    await asyncio.sleep(0.5)  # the server is away; the stream outlives it
                    continue
                over = status is None or JobStatus(status.decode()).ended
                if over and not entries:
                    return  # deleted, or the caller has seen its result
                for entry_id, fields in entries:
                    after = entry_id.decode()
                    event = decode(after, fields)
                    yield event
                    if event.kind == "result":
                        return
                if not over and len(entries) < MOST_AT_ONCE:  # there was no more to read
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(wake.wait(), RECHECK_S)
        finally:
            listeners = self._listeners[job_id]
            listeners.discard(wake)
            if not listeners:
                del self._listeners[job_id]

    async def _listen(self) -> None:
        told = False
        while not self._closing:
            pubsub: PubSub = self._redis.pubsub()
            try:
                await pubsub.subscribe(f"{self._prefix}:wake")
                told = False
                self._wake(None)  # whatever came while nobody listened
                while not self._closing:
                    message = await pubsub.get_message(timeout=1.0)
                    if message and message["type"] == "message":
                        self._wake(message["data"].decode())
            except (RedisError, OSError) as error:
                if not told:  # once an outage
                    log.warning("nothing tells of new events, looking again", reason=str(error))
                told = True
                await asyncio.sleep(0.2)
            finally:
                with contextlib.suppress(RedisError, OSError):
                    await cast(Any, pubsub).aclose()

    def _wake(self, job_id: str | None) -> None:
        targets = (
            [e for events in self._listeners.values() for e in events]
            if job_id is None
            else self._listeners.get(job_id, ())
        )
        for event in targets:
            event.set()

    async def close(self) -> None:
        """Stop listening."""
        self._closing = True  # redis-py may swallow a cancellation while it reads
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task


def decode(event_id: str, fields: Mapping[bytes, bytes]) -> Event:
    """Return the event of a stream entry; preview bytes stay bytes."""
    kind = fields[b"kind"].decode()
    data: dict[str, Any] = {}
    if kind == "progress":
        eta = fields[b"eta_s"].decode()
        data = {"step": int(fields[b"step"]), "eta_s": float(eta) if eta else None}
    elif kind == "preview":
        data = {
            "image": int(fields[b"image"]),
            "step": int(fields[b"step"]),
            "content_type": fields[b"content_type"].decode(),
            "data": fields[b"data"],
        }
    return Event(event_id, cast(Any, kind), int(fields[b"attempt"]), data)
