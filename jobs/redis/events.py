"""Following jobs' events: one connection wakes every listener, a round trip reads for many."""

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
from jobs.redis.errors import trouble
from jobs.schema import JobStatus
from jobs.store import Event

log = structlog.get_logger()
MOST_AT_ONCE = 64  # events of a job
TOGETHER = 32  # jobs in a round trip
RECHECK_S = 5.0  # a wake-up lost with its connection is made up for
Entries = list[tuple[bytes, Mapping[bytes, bytes]]]
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


class Reads:
    """Reads many streams in one round trip.

    Whatever is asked for while one is under way goes together in the next: a worker tells of all
    its jobs at once, and a door may have a thousand listeners.
    """

    def __init__(self, redis: "Redis", prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._asked: deque[_Asked] = deque()
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    async def read(self, job_id: str, after: str) -> tuple[bytes | None, Entries]:
        """Return a job's status, as it was before, and its events after an id.

        Raises:
            RedisError, OSError: Redis did not answer, or refused.
            StoreUnavailable: the store is closed.
        """
        if self._closed:
            raise StoreUnavailable("the store is closed")
        asked = _Asked(job_id, after, asyncio.get_running_loop().create_future())
        self._asked.append(asked)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())
        return await asked.answer

    async def _run(self) -> None:
        while self._asked:
            together = [self._asked.popleft() for _ in range(min(TOGETHER, len(self._asked)))]
            together = [asked for asked in together if not asked.answer.done()]  # who left
            try:
                replies = await self._replies(together)
            except Exception as error:  # theirs to judge, and to tell
                replies = [error] * 2 * len(together)
            except asyncio.CancelledError:
                self._asked.extendleft(together)
                raise
            for asked, status, found in zip(together, replies[::2], replies[1::2], strict=True):
                asked.take(status, found)

    async def _replies(self, together: Sequence["_Asked"]) -> list[Any]:
        pipe = self._redis.pipeline(transaction=False)
        for asked in together:
            # Before the events: a result comes with its end.
            pipe.hget(f"{self._prefix}:job:{asked.job_id}", "status")
            stream = f"{self._prefix}:events:{asked.job_id}"
            pipe.xrange(stream, f"({asked.after}", "+", count=MOST_AT_ONCE)
        return await pipe.execute(raise_on_error=False)

    async def close(self) -> None:
        """Read no more; whoever waits for an answer is told."""
        self._closed = True
        if self._task is not None:
            await end(self._task)
        closed = StoreUnavailable("the store is closed")
        for asked in self._asked:
            asked.take(closed, closed)


@dataclass(frozen=True, eq=False)
class _Asked:
    job_id: str
    after: str
    answer: asyncio.Future[tuple[bytes | None, Entries]]

    def take(self, status: Any, found: Any) -> None:
        if self.answer.done():  # who asked is gone
            return
        for reply in (status, found):
            if isinstance(reply, Exception):
                self.answer.set_exception(reply)
                return
        self.answer.set_result((status, found))


class EventHub:
    """Wakes the listeners of a job whenever its stream grows; each has what is new read for it.

    One subscription serves all listeners of the process: a thousand open streams hold no
    connection of their own.
    """

    def __init__(self, redis: "Redis", prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._reads = Reads(redis, prefix)
        self._listeners: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    async def follow(self, job_id: str, after: str) -> AsyncIterator[Event]:
        """Yield events after an id until the result, or until the job is deleted.

        An outage is waited out.

        Raises:
            StoreUnavailable: Redis refuses to return them.
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
                    status, entries = await self._reads.read(job_id, after)
                except (RedisError, OSError) as error:
                    if trouble(error) is None:  # it will not pass by itself
                        raise StoreUnavailable(f"no events of {job_id}: {error}") from error
                    await asyncio.sleep(0.5)  # the server is away; the stream outlives it
                    continue
                over = status is None or _ended(job_id, status)
                if over and not entries:
                    return  # deleted, or the caller has seen its result
                for event in decoded(job_id, entries):
                    yield event
                    if event.kind == "result":
                        return
                after = entries[-1][0].decode() if entries else after
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
                while not self._closing:
                    message = await pubsub.get_message(timeout=1.0)
                    if message and message["type"] == "message":
                        self._wake(message["data"].decode())
                    elif message and message["type"] == "subscribe":
                        told = False
                        self._wake(None)  # whatever came while nobody listened
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
        self._closing = True
        if self._task is not None:
            await end(self._task)
        await self._reads.close()


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
