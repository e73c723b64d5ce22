"""The store on Redis: a hash per job, a Lua script per transition, one hash tag for all keys."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from typing import Unpack

import orjson

from jobs.errors import (
    InvalidCursor,
    JobNotFound,
    NewerSchema,
    NotBegun,
    ResultExpired,
    StoreUnavailable,
    UnreadableRecord,
)
from jobs.latency import Latency, latencies
from jobs.redis import events
from jobs.redis.claims import RedisClaims
from jobs.redis.connection import ask, connect, disconnect
from jobs.redis.create import JobCreator
from jobs.redis.damage import Damage
from jobs.redis.fleet import RedisFleet
from jobs.redis.outbox import RedisOutbox
from jobs.redis.records import JobHash, decode
from jobs.redis.scripts import Scripts
from jobs.redis.server import ServerWatch
from jobs.redis.tenants import RedisTenants
from jobs.schema import (
    FAILURE_CODES,
    PUBLIC,
    SCHEMA_VERSION,
    ImageRecord,
    JobRecord,
    JobSpec,
    JobStatus,
)
from jobs.settings import JobsSettings
from jobs.store import (
    Backlog,
    Created,
    CreateOptions,
    Event,
    FinishedImage,
    JobPage,
    QueuePosition,
    Swept,
    Totals,
)

AUDITS = 20  # of a sweep


class RedisStore:
    """A :class:`jobs.store.JobStore` on Redis 6.2, Valkey 7.2 or newer. Bound to one event loop."""

    def __init__(self, settings: JobsSettings) -> None:
        self._prefix = f"{{{settings.key_prefix}}}"
        self._redis = connect(settings)
        self._scripts = Scripts(self._redis, self._prefix, settings)
        self._hub = events.EventHub(self._redis, self._prefix)
        self._damage = Damage(self._redis, self._key)
        self.tenants = RedisTenants(self._redis, self._key, settings)
        self.outbox = RedisOutbox(self._redis, self._key, self._scripts)

        fleet = RedisFleet(self._redis, self._key, self._damage)
        self.announce_model, self.forget_model = fleet.announce_model, fleet.forget_model
        self.announce_worker, self.retire_worker = fleet.announce_worker, fleet.retire_worker
        self.models, self.workers = fleet.models, fleet.workers
        self.drain_worker, self.take_load = fleet.drain_worker, fleet.take_load
        self.watch_batch, self.publish_batch = fleet.watch_batch, fleet.publish_batch

        self._claims = claims = RedisClaims(
            self._redis, self._key, self._scripts, settings, self._damage
        )
        self.claim, self.renew, self.requeue = claims.claim, claims.renew, claims.requeue
        self.offer, self.help, self.retake = claims.offer, claims.help, claims.retake
        self.checkpoints = claims.checkpoints
        self.progress, self.preview = claims.progress, claims.preview
        self.checkpoint, self.add_image = claims.checkpoint, claims.add_image
        self.finish, self.fail, self.warn = claims.finish, claims.fail, claims.warn

        self._server = ServerWatch(self._redis, settings)
        self._creator = JobCreator(
            self._redis, self._scripts, settings, fleet.workers, self._server
        )

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))

    async def create(
        self, job_id: str, spec: JobSpec, units: float, **options: Unpack[CreateOptions]
    ) -> Created:
        """Store a new job as ``queued``."""
        kept, replayed = await self._creator.create(job_id, spec, units, options)
        try:
            return Created(await self.get(kept), replayed)
        except JobNotFound as error:  # forgotten by a Redis that was killed, or deleted meanwhile
            raise StoreUnavailable(f"job {kept} has vanished since it was stored") from error

    async def get(self, job_id: str) -> JobRecord:
        """Return the job."""
        try:
            return decode(job_id, await self._hash(job_id))
        except UnreadableRecord as error:
            await self._damage.note_job(job_id, error)
            raise

    async def owner(self, job_id: str) -> str:
        """Return the job's tenant."""
        tenant = (await self._hash(job_id)).get(b"tenant", PUBLIC.encode())
        return tenant.decode("utf-8", "replace")

    async def _hash(self, job_id: str) -> JobHash:
        job: JobHash = await ask(self._redis.hgetall(self._key("job", job_id)))
        if not job:
            raise JobNotFound(job_id)
        return job

    async def list(
        self,
        *,
        tenant: str | None = None,
        status: JobStatus | None = None,
        limit: int = 20,
        cursor: str | None = None,
    ) -> JobPage:
        """Return a page of jobs, newest first."""
        key = self._key("jobs") if tenant is None else self._key("tenant", tenant, "jobs")
        key += f":{status.value}" if status else ""
        below = "+inf"
        if cursor is not None:
            below = f"({_parse_cursor(cursor)}"
        found = await ask(
            self._redis.zrevrangebyscore(key, below, "-inf", start=0, num=limit, withscores=True)
        )
        ids = [job_id.decode() for job_id, _ in found]
        pipe = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hgetall(self._key("job", job_id))
        jobs = await ask(pipe.execute())
        records: list[JobRecord] = []
        unreadable: list[NewerSchema | UnreadableRecord] = []
        for job_id, job in zip(ids, jobs, strict=True):
            try:
                if job:
                    records.append(decode(job_id, job))
                else:  # deleted since, or lost
                    await ask(self._redis.zrem(key, job_id))
            except NewerSchema as error:
                unreadable.append(error)
            except UnreadableRecord as error:
                await self._damage.note_job(job_id, error)
                unreadable.append(error)
        # A job may have moved on between the two round trips.
        kept = tuple(r for r in records if status in (None, r.status))
        last = str(int(found[-1][1])) if len(found) == limit else None
        return JobPage(kept, last, tuple(unreadable))

    async def queue_position(self, record: JobRecord) -> QueuePosition | None:
        """Return a queued job's place, an estimate while several tenants wait."""
        found = await self._scripts("position", {"id": record.id})
        return QueuePosition(int(found[0]) + 1, float(found[1])) if found else None

    async def cancel(self, job_id: str) -> JobRecord:
        """End the job as ``canceled`` at once."""
        await self._ask(job_id, "cancel")
        return await self.get(job_id)

    async def finish_now(self, job_id: str) -> JobRecord:
        """Have a job that was begun end at its present step."""
        await self._ask(job_id, "finish")
        return await self.get(job_id)

    async def delete(self, job_id: str) -> None:
        """Cancel the job if it has not ended, then delete it."""
        await self._ask(job_id, "delete")

    async def _ask(self, job_id: str, wish: str) -> None:
        outcome = await self._scripts("ask", {"id": job_id, "wish": wish})
        if outcome == 0:
            raise JobNotFound(job_id)
        if outcome == -1:
            raise NotBegun(job_id)
        if outcome != 1:
            raise NewerSchema(job_id, int(outcome[1]), SCHEMA_VERSION)

    async def purge(self, tenant: str, limit: int) -> int:
        """Delete up to ``limit`` of a tenant's jobs."""
        return int(await self._scripts("purge", {"tenant": tenant, "limit": limit}))

    async def take_sweep(self, holder: str, hold_s: float) -> bool:
        """Return whether this is the one that sweeps."""
        arguments = {"holder": holder, "hold_ms": max(1, round(hold_s * 1000))}
        return bool(await self._scripts("take_sweep", arguments))

    async def sweep(self) -> Swept:
        """Requeue, expire, evict."""
        requeued, models, expired, failed, dropped, forgotten, lost = await self._scripts(
            "sweep", {}
        )
        for _ in range(AUDITS):  # while there is something to mend
            gone, put_back = await self._scripts("audit", {})
            lost += gone
            if not gone + put_back:
                break
        pairs = zip(requeued, models, strict=True)
        return Swept(
            tuple((job_id.decode(), model.decode()) for job_id, model in pairs),
            tuple(job_id.decode() for job_id in expired),
            tuple(job_id.decode() for job_id in failed),
            dropped,
            forgotten,
            lost,
        )

    async def image(self, job_id: str, index: int) -> FinishedImage:
        """Return a finished image."""
        job = await self._hash(job_id)
        head = job.get(f"image:{index}".encode())
        if head is None:
            raise JobNotFound(f"{job_id}/images/{index}")
        try:
            fields = orjson.loads(head)
            record, key = ImageRecord.model_validate(fields), str(fields["key"])
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableRecord(job_id, f"image:{index}") from error
        data = await ask(self._redis.get(key))
        if data is None:
            raise ResultExpired(f"image {index} of job {job_id} has expired")
        return FinishedImage(record, data)

    async def latest_preview(self, job_id: str) -> tuple[str, bytes] | None:
        """Return the newest preview."""
        job = await self._hash(job_id)
        event = job.get(b"preview_event")
        if event is None:
            return None
        found = await ask(self._redis.xrange(self._key("events", job_id), event, event))
        if not found:
            return None
        return found[0][1][b"content_type"].decode(), found[0][1][b"data"]

    async def ended(self, job_id: str) -> None:
        """Return once the job has ended or is deleted."""
        await self._hash(job_id)
        await self._hub.ended(job_id)

    async def events(self, job_id: str, after: str | None = None) -> AsyncIterator[Event]:
        """Yield the job's events after an id until its result."""
        async with contextlib.aclosing(self.event_batches(job_id, after)) as batches:
            async for batch in batches:
                for event in batch:
                    yield event

    async def event_batches(
        self, job_id: str, after: str | None = None
    ) -> AsyncGenerator[tuple[Event, ...]]:
        """Yield the job's events as `events` does, those together that have come together."""
        start = events.parse_id(after)
        await self._hash(job_id)
        async with contextlib.aclosing(self._hub.follow(job_id, start)) as batches:
            async for batch in batches:
                yield batch

    async def backlog(self, model: str) -> Backlog:
        """Return the model's outstanding work."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.zcard(self._key("pending", model))
        pipe.scard(self._key("running", model))
        pipe.hmget(self._key("work", model), "pending_units", "running_units")
        pending, running, units = await ask(pipe.execute())
        # Sums of rounded decimals may end just off zero; no jobs means no work.
        waiting = float(units[0] or 0) if pending else 0.0
        active = float(units[1] or 0) if running else 0.0
        return Backlog(pending, running, max(0.0, waiting), max(0.0, active))

    async def totals(self) -> Totals:
        """Return the counters for metrics."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.hgetall(self._key("totals"))
        pipe.mget(*(self._key(f"{kind}_bytes") for kind in ("result", "preview", "record")))
        pipe.scard(self._key("unreadable"))
        counters, kept, unreadable = await ask(pipe.execute())
        counts = {name.decode(): int(value) for name, value in counters.items()}
        ended = {s.value: counts.get(s.value, 0) for s in JobStatus if s.ended}
        results, previews, records = (int(held or 0) for held in kept)
        server = await self._server.read()
        return Totals(
            ended=ended,
            failures={code: counts.get(f"failed:{code}", 0) for code in FAILURE_CODES},
            created=counts.get("created", 0),
            lost=counts.get("lost", 0),
            leases_reaped=counts.get("leases_reaped", 0),
            results_bytes=results,
            previews_bytes=previews,
            records_bytes=records,
            unreadable=unreadable,
            memory_bytes=server.used_bytes,
            memory_limit_bytes=server.limit_bytes,
            evicts=server.evicts,
        )

    async def latencies(self, model: str) -> tuple[Latency, ...]:
        """Return how long the model's jobs took, by outcome."""
        kept: Mapping[bytes, bytes] = await ask(self._redis.hgetall(self._key("latency", model)))
        return latencies({name.decode(): value.decode() for name, value in kept.items()})

    async def ping(self) -> None:
        """Check that the store answers, and keeps what it is given."""
        await self._server.check()

    async def close(self) -> None:
        """Release connections."""
        await self._hub.close()
        await disconnect(self._redis, "the store")


def _parse_cursor(cursor: str) -> int:
    """Return the number of the job below which the next page starts.

    Raises:
        InvalidCursor: the cursor is malformed.
    """
    if not (cursor.isascii() and cursor.isdecimal()) or len(cursor) > 18:
        raise InvalidCursor(f"{cursor!r} is not a valid cursor")
    return int(cursor)
