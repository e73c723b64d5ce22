"""Following jobs' events: one connection wakes all listeners, one round trip reads for many."""

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from jobs.cancelling import end
from jobs.errors import InvalidCursor, StoreUnavailable, UnreadableRecord
from jobs.redis.errors import transient_error
from jobs.schema import JobStatus
from jobs.store import Event

log = structlog.get_logger()
MAX_EVENTS = 64  # of one job in a round trip
MAX_JOBS = 32  # in a round trip
RECHECK_S = 5.0  # in case a wake-up was lost with its connection
Entries = list[tuple[bytes, Mapping[bytes, bytes]]]
_ID = re.compile(r"\d{1,18}-\d{1,18}")


def parse_id(after: str | None) -> str:
    """Return the stream id to read after.

    Raises:
        InvalidCursor: it is not an event id.
    """
    if after is None:
        return "0-0"
    if not _ID.fullmatch(after):
        raise InvalidCursor(f"{after!r} is not an event id")
    return after


class BatchReader:
    """Reads many streams in one round trip.

    Reads requested during one round trip share the next: a worker reports on all its jobs at once,
    and a door may have a thousand listeners.
    """

    def __init__(self, redis: "Redis", prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._reads: deque[_Read] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def read(self, job_id: str, after: str) -> tuple[bytes | None, Entries]:
        """Return a job's status and then its events after an id.

        Raises:
            RedisError, OSError: Redis did not answer, or refused.
            StoreUnavailable: the store is closed.
        """
        if self._closed:
            raise StoreUnavailable("the store is closed")
        read = _Read(job_id, after, asyncio.get_running_loop().create_future())
        self._reads.append(read)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await read.reply

    async def _run(self) -> None:
        while self._reads:
            batch = [self._reads.popleft() for _ in range(min(MAX_JOBS, len(self._reads)))]
            batch = [read for read in batch if not read.reply.done()]  # the others were canceled
            try:
                replies = await self._execute(batch)
            except Exception as error:  # raised to each caller
                replies = [error] * 2 * len(batch)
            except asyncio.CancelledError:
                self._reads.extendleft(batch)
                raise
            for read, status, found in zip(batch, replies[::2], replies[1::2], strict=True):
                read.resolve(status, found)

    async def _execute(self, batch: Sequence["_Read"]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for read in batch:
            # The status first: if the job has ended by then, its result is in the stream.
            pipe.hget(f"{self._prefix}:job:{read.job_id}", "status")
            stream = f"{self._prefix}:events:{read.job_id}"
            pipe.xrange(stream, f"({read.after}", "+", count=MAX_EVENTS)
        return await pipe.execute(raise_on_error=False)

    async def close(self) -> None:
        """Stop reading; pending reads raise StoreUnavailable."""
        self._closed = True
        if self._task is not None:
            await end(self._task)
        closed = StoreUnavailable("the store is closed")
        for read in self._reads:
            read.resolve(closed, closed)


@dataclass(frozen=True, eq=False)
class _Read:
    job_id: str
    after: str
    reply: asyncio.Future[tuple[bytes | None, Entries]]

    def resolve(self, status: Any, found: Any) -> None:
        if self.reply.done():  # canceled
            return
        for part in (status, found):
            if isinstance(part, Exception):
                self.reply.set_exception(part)
                return
        self.reply.set_result((status, found))


class EventHub:
    """Wakes a job's listeners when its stream grows, and reads the new events for them.

    One subscription serves all listeners of the process, so an open stream needs no connection of
    its own.
    """

    def __init__(self, redis: "Redis", prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._reader = BatchReader(redis, prefix)
        self._listeners: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    async def follow(self, job_id: str, after: str) -> AsyncIterator[Event]:
        """Yield events after an id until the result, or until the job is deleted.

        Outages are waited out.

        Raises:
            StoreUnavailable: Redis refuses to return events.
            UnreadableRecord: the job's status is damaged.
        """
        wake = asyncio.Event()
        self._listeners.setdefault(job_id, set()).add(wake)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen())
        try:
            while True:
                wake.clear()
                try:
                    status, entries = await self._reader.read(job_id, after)
                except (RedisError, OSError) as error:
                    if transient_error(error) is None:  # a retry cannot succeed
                        raise StoreUnavailable(f"no events of {job_id}: {error}") from error
                    await asyncio.sleep(0.5)  # an outage, which the stream outlives
                    continue
                over = status is None or _ended(job_id, status)
                if over and not entries:
                    return  # deleted, or the caller has seen its result
                for event in decoded(job_id, entries):
                    yield event
                    if event.kind == "result":
                        return
                after = entries[-1][0].decode() if entries else after
                if not over and len(entries) < MAX_EVENTS:  # nothing is left to read
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(wake.wait(), RECHECK_S)
        finally:
            listeners = self._listeners[job_id]
            listeners.discard(wake)
            if not listeners:
                del self._listeners[job_id]

    async def _listen(self) -> None:
        logged = False  # once per outage
        while not self._closing:
            pubsub: PubSub = self._redis.pubsub()
            try:
                await pubsub.subscribe(f"{self._prefix}:wake")
                while not self._closing:
                    message = await pubsub.get_message(timeout=1.0)
                    if message and message["type"] == "message":
                        self._wake(message["data"].decode())
                    elif message and message["type"] == "subscribe":
                        logged = False
                        self._wake(None)  # for events before the subscription
            except (RedisError, OSError) as error:
                if not logged:
                    log.warning("no notice of new events, resubscribing", reason=str(error))
                logged = True
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
        self._closing = True
        if self._task is not None:
            await end(self._task)
        await self._reader.close()


def _ended(job_id: str, status: bytes) -> bool:
    try:
        return JobStatus(status.decode()).ended
    except ValueError as error:
        raise UnreadableRecord(job_id, "status") from error


def decoded(job_id: str, entries: Entries) -> Iterator[Event]:
    """Yield the events of stream entries; a damaged one is logged and skipped."""
    for entry_id, fields in entries:
        try:
            yield decode(entry_id.decode(), fields)
        except (KeyError, ValueError):
            log.error("an event is damaged", job_id=job_id, event_id=entry_id.decode())


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
