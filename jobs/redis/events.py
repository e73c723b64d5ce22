"""Following jobs' events: one connection wakes all listeners, one read serves those of a job."""

import asyncio
import contextlib
import re
from collections import deque
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import structlog
from redis.asyncio import Redis
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from jobs.cancelling import end
from jobs.errors import InvalidCursor, StoreUnavailable, UnreadableRecord
from jobs.redis.errors import transient_error
from jobs.redis.event_channel import Channel, Listener, position
from jobs.schema import JobStatus
from jobs.store import Event

log = structlog.get_logger()
MAX_EVENTS = 64  # of one job in a round trip
MAX_JOBS = 32  # in a round trip
PAUSE_S, LONGEST_PAUSE_S = 0.0004, 1.0
"""Between two deliveries to a job's listeners, for each listener in the process: what comes within
it is sent together, so that a crowd leaves most of the event loop to other requests."""
RECHECK_S = 5.0  # in case a wake-up was lost with its connection
BEGINNING = "0-0"
Entries = list[tuple[bytes, Mapping[bytes, bytes]]]
_ID = re.compile(r"\d{1,18}-\d{1,18}")


def parse_id(after: str | None) -> str:
    """Return the stream id to read after.

    Raises:
        InvalidCursor: it is not an event id.
    """
    if after is None:
        return BEGINNING
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
    """Wakes those who follow a job when its stream grows, and reads the new events for them.

    One subscription serves all listeners of the process, so an open stream needs no connection of
    its own; the listeners of one job share what is read.
    """

    def __init__(self, redis: "Redis", prefix: str) -> None:
        self._redis = redis
        self._prefix = prefix
        self._reader = BatchReader(redis, prefix)
        self._channels: dict[str, Channel] = {}
        self._pumps: set[asyncio.Task[None]] = set()
        self._waiting: dict[str, set[asyncio.Event]] = {}  # for the end of a job alone
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    async def follow(self, job_id: str, after: str) -> AsyncGenerator[tuple[Event, ...]]:
        """Yield what comes after an id until the result, or until the job is deleted.

        An id that the stream has not reached counts as none: a store may have lost the end of a
        stream. Outages are waited out.

        Raises:
            StoreUnavailable: Redis refuses to return events.
            UnreadableRecord: the job's status is damaged.
        """
        with self._joined(job_id) as (channel, listener):
            if after != BEGINNING and await self._is_ahead(job_id, after):
                after = BEGINNING
            while (batch := await self._batch(job_id, channel, listener, after)) is not None:
                if batch.events:
                    yield batch.events
                    if batch.events[-1].kind == "result":
                        return
                after = batch.end or after

    async def ended(self, job_id: str) -> None:
        """Return once the job has ended or is deleted; its status alone is read.

        Raises:
            StoreUnavailable: Redis refuses to return it.
            UnreadableRecord: it is damaged.
        """
        self._ensure_listening()
        woken = asyncio.Event()
        self._waiting.setdefault(job_id, set()).add(woken)
        try:
            while not await self._is_over(job_id):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(woken.wait(), RECHECK_S)
                woken.clear()
        finally:
            self._waiting[job_id].discard(woken)
            if not self._waiting[job_id]:
                del self._waiting[job_id]

    async def _is_over(self, job_id: str) -> bool:
        while True:
            try:
                call = self._redis.hget(f"{self._prefix}:job:{job_id}", "status")
                status = await cast(Any, call)
            except (RedisError, OSError) as error:
                if transient_error(error) is None:
                    raise StoreUnavailable(f"no status of {job_id}: {error}") from error
                await asyncio.sleep(0.5)
                continue
            return status is None or _ended(job_id, status)

    def _ensure_listening(self) -> None:
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen())

    @contextlib.contextmanager
    def _joined(self, job_id: str) -> Iterator[tuple[Channel, Listener]]:
        """Yield a job's channel and a new listener of it."""
        self._ensure_listening()
        channel = self._channels.setdefault(job_id, Channel())
        try:
            with channel.listening() as listener:
                yield channel, listener
        finally:
            if not channel.listeners:
                self._leave(job_id, channel)

    def _leave(self, job_id: str, channel: Channel) -> None:
        if self._channels.get(job_id) is channel:
            del self._channels[job_id]
        if channel.task is not None:
            channel.task.cancel()

    async def _batch(
        self, job_id: str, channel: Channel, listener: Listener, after: str
    ) -> "_Batch | None":
        """Return the next events after an id, None if the job has none any more."""
        if not listener.behind:
            come = await listener.next()
            if channel.failed is not None:
                raise channel.failed
            if come and position(come[0].id) <= position(after):  # some was read already
                come = tuple(event for event in come if position(event.id) > position(after))
            return _Batch(come, come[-1].id if come else None)
        listener.behind = False  # what is given from now on is new, or known already
        found = await self._read(job_id, after)
        if found.over and not found.entries:
            return None  # deleted, or the caller has seen its result
        if found.over or found.full:
            listener.fall_behind()
        else:
            self._begin(job_id, channel, found.end or after)
        return _Batch(tuple(decoded(job_id, found.entries)), found.end)

    def _begin(self, job_id: str, channel: Channel, after: str) -> None:
        """Read for the channel from here on, unless it is read already."""
        if channel.task is None:
            channel.after = after
            channel.task = asyncio.create_task(self._pump(job_id, channel))
            self._pumps.add(channel.task)
            channel.task.add_done_callback(self._pumps.discard)

    async def _pump(self, job_id: str, channel: Channel) -> None:
        while channel.listeners:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(channel.wake.wait(), RECHECK_S)
            channel.wake.clear()
            assert channel.after is not None
            try:
                found = await self._read(job_id, channel.after)
            except Exception as error:  # raised to each listener
                channel.failed = error
                channel.send_back()
                self._leave(job_id, channel)
                return
            channel.after = found.end or channel.after
            await channel.give(tuple(decoded(job_id, found.entries)))
            if found.over:
                channel.send_back()  # each finds out how it ended
            elif found.full:
                channel.wake.set()
            listeners = sum(len(each.listeners) for each in self._channels.values())
            await asyncio.sleep(min(LONGEST_PAUSE_S, listeners * PAUSE_S))

    async def _read(self, job_id: str, after: str) -> "_Found":
        while True:
            try:
                status, entries = await self._reader.read(job_id, after)
            except (RedisError, OSError) as error:
                if transient_error(error) is None:  # a retry cannot succeed
                    raise StoreUnavailable(f"no events of {job_id}: {error}") from error
                await asyncio.sleep(0.5)  # an outage, which the stream outlives
                continue
            over = status is None or _ended(job_id, status)
            return _Found(over, entries)

    async def _is_ahead(self, job_id: str, after: str) -> bool:
        """Return whether a stream has not reached this id."""
        while True:
            try:
                about = await cast(Any, self._redis.xinfo_stream(f"{self._prefix}:events:{job_id}"))
            except (RedisError, OSError) as error:
                if transient_error(error) is None:
                    return True  # there is no such stream
                await asyncio.sleep(0.5)
                continue
            return position(after) > position(about["last-generated-id"].decode())

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
        for name in self._channels if job_id is None else (job_id,):
            if (channel := self._channels.get(name)) is not None:
                channel.wake.set()
        for name in self._waiting if job_id is None else (job_id,):
            for woken in self._waiting.get(name, ()):
                woken.set()

    async def close(self) -> None:
        """Stop listening."""
        self._closing = True
        if self._task is not None:
            await end(self._task)
        await self._reader.close()
        await end(*self._pumps)


@dataclass(frozen=True)
class _Batch:
    """Events for one listener, and the id that it has then been told everything up to."""

    events: tuple[Event, ...]
    end: str | None


@dataclass(frozen=True)
class _Found:
    """What a read of a stream has found."""

    over: bool  # the job has ended or was deleted
    entries: Entries

    @property
    def end(self) -> str | None:
        """The last id, None if there was nothing."""
        return self.entries[-1][0].decode() if self.entries else None

    @property
    def full(self) -> bool:
        """Whether there may be more."""
        return len(self.entries) >= MAX_EVENTS


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
            "of": fields.get(b"of", b"estimate").decode(),  # former workers say nothing
            "content_type": fields[b"content_type"].decode(),
            "data": fields[b"data"],
        }
    return Event(event_id, cast(Any, kind), int(fields[b"attempt"]), data)
