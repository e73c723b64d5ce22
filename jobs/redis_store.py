"""The store on Redis: one hash a job, one Lua script a transition, one hash tag for all keys."""

import secrets
from collections.abc import AsyncIterator, Awaitable, Mapping, Sequence
from typing import Any, cast

import orjson
import structlog
from pydantic import TypeAdapter, ValidationError

from jobs import events
from jobs.catalogue import ModelEntry
from jobs.connection import ask, connect, disconnect
from jobs.errors import (
    JobNotFound,
    NewerSchema,
    ResultExpired,
    StaleFence,
    StoreTrouble,
    UnreadableRecord,
)
from jobs.latency import Latency, latencies
from jobs.records import JobHash, decode
from jobs.redis_intake import RedisIntake
from jobs.redis_outbox import RedisOutbox
from jobs.redis_tenants import RedisTenants
from jobs.schema import (
    FAILURE_CODES,
    PUBLIC,
    SCHEMA_VERSION,
    Durable,
    ImageRecord,
    JobError,
    JobRecord,
    JobSpec,
    JobStatus,
)
from jobs.scripts import Scripts
from jobs.settings import JobsSettings
from jobs.store import (
    WORKER_TTL_S,
    Backlog,
    Checkpoint,
    Claim,
    Created,
    Event,
    FinishedImage,
    Idempotency,
    JobPage,
    Lease,
    Preview,
    Progress,
    QueuePosition,
    Renewal,
    RequeueReason,
    Swept,
    Totals,
    WorkerEntry,
    parse_cursor,
)
from jobs.webhook import Webhook

log = structlog.get_logger()
ORPHAN_TTL_S = 3600  # a blob whose script never ran disappears by itself


class RedisStore:
    """A :class:`jobs.store.JobStore` on Redis 6.2, Valkey 7.2 or newer. Bound to one event loop."""

    def __init__(self, settings: JobsSettings) -> None:
        self._settings = settings
        self._prefix = f"{{{settings.key_prefix}}}"
        self._redis = connect(settings)
        self._scripts = Scripts(self._redis, self._prefix, settings)
        self.tenants = RedisTenants(self._redis, self._key, settings)
        self._intake = RedisIntake(self._redis, self._scripts, settings, self.workers)
        self._hub = events.EventHub(self._redis, self._prefix)
        self.outbox = RedisOutbox(self._redis, self._key, self._scripts)
        self._unsure: dict[tuple[str, str], str] = {}  # model, worker → a claim without an answer

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))

    async def _ask(self, call: Awaitable[Any]) -> Any:
        """Return Redis' answer; redis-py's types leave open whether it is text or bytes."""
        return await ask(call)

    async def _script(self, name: str, arguments: dict[str, Any], *blobs: bytes) -> Any:
        return await self._ask(self._scripts(name, arguments, *blobs))

    async def _leave(self, name: str, lease: Lease, **arguments: Any) -> JobRecord:
        """Run a transition that takes the job from its worker; return what the job is then."""

        def fill(pipe: Any) -> None:
            self._scripts.queue(pipe, name, _fence(lease) | arguments)
            pipe.hgetall(self._key("job", lease.job_id))

        ours, job = await self._ask(self._scripts.execute(fill))
        if not ours:
            raise StaleFence(lease.job_id)
        return decode(lease.job_id, cast(JobHash, job))

    async def create(
        self,
        job_id: str,
        spec: JobSpec,
        units: float,
        *,
        idempotency: Idempotency | None = None,
        traceparent: str | None = None,
        webhook: Webhook | None = None,
        durable: Durable | None = None,
    ) -> Created:
        """Store a new job as ``queued``."""
        kept, replayed = await self._intake.take(
            job_id, spec, units, idempotency=idempotency, traceparent=traceparent,
            webhook=webhook, durable=durable,
        )  # fmt: skip
        return Created(await self.get(kept), replayed)

    async def get(self, job_id: str) -> JobRecord:
        """Return the job."""
        try:
            return decode(job_id, await self._hash(job_id))
        except UnreadableRecord as error:
            await self._note_unreadable(f"job:{job_id}", error)
            raise

    async def owner(self, job_id: str) -> str:
        """Return the job's tenant."""
        tenant = (await self._hash(job_id)).get(b"tenant", PUBLIC.encode())
        return tenant.decode("utf-8", "replace")

    async def _note_unreadable(self, record: str, error: Exception) -> None:
        """Log a damaged record once, and count it until it is rewritten or deleted."""
        call = self._redis.sadd(self._key("unreadable"), record)
        if await self._ask(cast(Awaitable[Any], call)):
            log.error("a stored record is damaged", record=record, reason=str(error))

    async def _hash(self, job_id: str) -> JobHash:
        job = await self._ask(cast(Awaitable[Any], self._redis.hgetall(self._key("job", job_id))))
        if not job:
            raise JobNotFound(job_id)
        return cast(JobHash, job)

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
            below = f"({parse_cursor(cursor)}"
        found = await self._ask(
            self._redis.zrevrangebyscore(key, below, "-inf", start=0, num=limit, withscores=True)
        )
        ids = [job_id.decode() for job_id, _ in found]
        pipe = self._redis.pipeline(transaction=False)
        for job_id in ids:
            pipe.hgetall(self._key("job", job_id))
        jobs = await self._ask(pipe.execute())
        records: list[JobRecord] = []
        unreadable: list[NewerSchema | UnreadableRecord] = []
        for job_id, job in zip(ids, jobs, strict=True):
            try:
                if job:
                    records.append(decode(job_id, job))
            except NewerSchema as error:
                unreadable.append(error)
            except UnreadableRecord as error:
                await self._note_unreadable(f"job:{job_id}", error)
                unreadable.append(error)
        # A job may have moved on between the two round trips.
        kept = tuple(r for r in records if status in (None, r.status))
        last = str(int(found[-1][1])) if len(found) == limit else None
        return JobPage(kept, last, tuple(unreadable))

    async def queue_position(self, record: JobRecord) -> QueuePosition | None:
        """Return a queued job's place, an estimate where several tenants wait."""
        found = await self._script("position", {"id": record.id})
        return QueuePosition(int(found[0]) + 1, float(found[1])) if found else None

    async def claim(self, model: str, worker: str, *, idle: bool) -> Claim | None:
        """Hand the next waiting job of this model to the worker.

        Where an answer is lost nobody knows what was claimed; the worker's next call finds out.
        """
        unsure = self._unsure.pop((model, worker), None)
        token = unsure or secrets.token_hex(8)
        arguments = {"model": model, "worker": worker, "idle": idle, "token": token}
        try:
            return await self._claim(arguments | {"again": unsure is not None})
        except StoreTrouble:
            self._unsure[model, worker] = token
            raise

    async def _claim(self, arguments: dict[str, Any]) -> Claim | None:
        while flat := await self._script("claim", arguments):
            job_id, *rest = flat
            job: JobHash = dict(zip(rest[::2], rest[1::2], strict=True))
            fence = job[b"fence"].decode()
            lease = Lease(job_id.decode(), arguments["model"], arguments["worker"], fence)
            try:
                return await self._claimed(lease, job)
            except UnreadableRecord as error:
                await self._fail_unreadable(lease, error)
        return None

    async def _fail_unreadable(self, lease: Lease, error: UnreadableRecord) -> None:
        """End a job that no worker can draw, so that it does not come back to the next one."""
        await self._note_unreadable(f"job:{lease.job_id}", error)
        failure = JobError(code="internal", detail=str(error)).model_dump_json()
        await self._script("finish", _fence(lease) | {"status": "failed", "error": failure})

    async def _claimed(self, lease: Lease, job: JobHash) -> Claim:
        record = decode(lease.job_id, job)
        return Claim(
            record,
            lease,
            await self._checkpoints(lease.job_id, job),
            tuple(image.index for image in record.images),
            record.deaths >= self._settings.suspect_deaths,
            int(job[b"served_as"]),
            float(job[b"weight"]),
        )

    async def _checkpoints(self, job_id: str, job: JobHash) -> tuple[Checkpoint, ...]:
        heads = []
        for field, value in job.items():
            if field.startswith(b"checkpoint:"):
                try:
                    head = orjson.loads(value)
                    Checkpoint(head["image"], head["row"], head["identity"], head["shape"], b"")
                    heads.append(head | {"key": str(head["key"])})
                except (KeyError, TypeError, ValueError):  # the picture starts anew
                    log.error("a checkpoint is damaged", job_id=job_id, field=repr(field))
        if not heads:
            return ()
        blobs = await self._ask(cast(Awaitable[Any], self._redis.mget([h["key"] for h in heads])))
        return tuple(
            Checkpoint(h["image"], h["row"], h["identity"], tuple(h["shape"]), blob)
            for h, blob in zip(heads, blobs, strict=True)
            if blob is not None
        )

    async def renew(self, leases: Sequence[Lease], *, parkable: int | None = None) -> Renewal:
        """Prolong all leases in one call."""
        arguments: dict[str, Any] = {"leases": [_fence(lease) for lease in leases]}
        if parkable is not None:
            arguments["parkable"] = parkable
        lost, *waiting = await self._script("renew", arguments)
        return Renewal(frozenset(job_id.decode() for job_id in lost), next(iter(waiting), None))

    async def progress(self, updates: Sequence[Progress]) -> frozenset[str]:
        """Record and publish progress in one call."""
        rows = [
            _fence(u.lease)
            | {"step": u.step, "units_done": u.units_done, "evaluations": u.evaluations}
            | ({} if u.eta_s is None else {"eta_s": round(u.eta_s, 2)})
            for u in updates
        ]
        return frozenset(i.decode() for i in await self._script("progress", {"updates": rows}))

    async def preview(self, previews: Sequence[Preview]) -> frozenset[str]:
        """Publish previews in one round trip."""

        def fill(pipe: Any) -> None:
            for p in previews:
                head = {"image": p.image, "step": p.step, "content_type": p.content_type}
                self._scripts.queue(pipe, "preview", _fence(p.lease) | head, p.data)

        kept = await self._ask(self._scripts.execute(fill))
        return frozenset(p.lease.job_id for p, ok in zip(previews, kept, strict=True) if not ok)

    async def checkpoint(self, lease: Lease, checkpoints: Sequence[Checkpoint]) -> None:
        """Replace the pictures' checkpoints."""

        def fill(pipe: Any) -> None:
            heads = []
            for c in checkpoints:
                key = self._key("checkpoint", lease.job_id, lease.fence, f"{c.image}:{c.row}")
                pipe.set(key, c.blob, ex=ORPHAN_TTL_S)
                head = {"image": c.image, "row": c.row, "identity": c.identity, "shape": c.shape}
                text = orjson.dumps(head | {"key": key}).decode()
                heads.append({"image": c.image, "key": key, "head": text})
            self._scripts.queue(pipe, "checkpoint", _fence(lease) | {"checkpoints": heads})

        if not (await self._ask(self._scripts.execute(fill)))[-1]:
            raise StaleFence(lease.job_id)

    async def add_image(self, lease: Lease, image: FinishedImage) -> None:
        """Store one finished picture."""
        key = self._key("image", lease.job_id, lease.fence, str(image.record.index))
        record = image.record
        # As text: a seed is an int64, and Lua's numbers are doubles.
        head = orjson.dumps(record.model_dump() | {"key": key}).decode()
        arguments = {"index": record.index, "size_bytes": record.size_bytes, "key": key}

        def fill(pipe: Any) -> None:
            pipe.set(key, image.data, ex=ORPHAN_TTL_S)
            self._scripts.queue(pipe, "add_image", _fence(lease) | arguments | {"head": head})

        if not (await self._ask(self._scripts.execute(fill)))[-1]:
            raise StaleFence(lease.job_id)

    async def finish(self, lease: Lease, evaluations: int) -> JobRecord:
        """End the job as ``succeeded``."""
        return await self._leave("finish", lease, status="succeeded", evaluations=evaluations)

    async def fail(self, lease: Lease, error: JobError) -> JobRecord:
        """End the job as ``failed`` with the reason."""
        return await self._leave("finish", lease, status="failed", error=error.model_dump_json())

    async def requeue(self, lease: Lease, reason: RequeueReason) -> JobRecord:
        """Give the job back with its checkpoints."""
        return await self._leave("requeue", lease, reason=reason)

    async def cancel(self, job_id: str) -> JobRecord:
        """End the job as ``canceled`` at once."""
        await self._end("cancel", job_id)
        return await self.get(job_id)

    async def delete(self, job_id: str) -> None:
        """Cancel if need be, then forget the job."""
        await self._end("delete", job_id)

    async def _end(self, name: str, job_id: str) -> None:
        outcome = await self._script(name, {"id": job_id})
        if not outcome:
            raise JobNotFound(job_id)
        if outcome != 1:
            raise NewerSchema(job_id, int(outcome[1]), SCHEMA_VERSION)

    async def purge(self, tenant: str, limit: int) -> int:
        """Delete at most so many of a tenant's jobs."""
        return int(await self._script("purge", {"tenant": tenant, "limit": limit}))

    async def sweep(self) -> Swept:
        """Requeue, expire, bound."""
        requeued, models, expired, failed, dropped = await self._script("sweep", {})
        pairs = zip(requeued, models, strict=True)
        return Swept(
            tuple((job_id.decode(), model.decode()) for job_id, model in pairs),
            tuple(job_id.decode() for job_id in expired),
            tuple(job_id.decode() for job_id in failed),
            dropped,
        )

    async def image(self, job_id: str, index: int) -> FinishedImage:
        """Return a finished picture."""
        job = await self._hash(job_id)
        head = job.get(f"image:{index}".encode())
        if head is None:
            raise JobNotFound(f"{job_id}/images/{index}")
        try:
            fields = orjson.loads(head)
            record, key = ImageRecord.model_validate(fields), str(fields["key"])
        except (KeyError, TypeError, ValueError) as error:
            raise UnreadableRecord(job_id, f"image:{index}") from error
        data = await self._ask(cast(Awaitable[Any], self._redis.get(key)))
        if data is None:
            raise ResultExpired(f"picture {index} of job {job_id} is past its time to live")
        return FinishedImage(record, data)

    async def latest_preview(self, job_id: str) -> tuple[str, bytes] | None:
        """Return the newest preview."""
        job = await self._hash(job_id)
        event = job.get(b"preview_event")
        if event is None:
            return None
        found = await self._ask(self._redis.xrange(self._key("events", job_id), event, event))
        if not found:
            return None
        return found[0][1][b"content_type"].decode(), found[0][1][b"data"]

    async def events(self, job_id: str, after: str | None = None) -> AsyncIterator[Event]:
        """Yield the job's events after an id, until its result."""
        start = events.parse_id(after)
        await self._hash(job_id)
        async for event in self._hub.follow(job_id, start):
            yield event

    async def announce_model(self, model: ModelEntry) -> None:
        """Put a model into the catalogue."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.hset(self._key("models"), model.name, model.model_dump_json())
        pipe.srem(self._key("unreadable"), f"model:{model.name}")
        await self._ask(pipe.execute())

    async def forget_model(self, name: str) -> None:
        """Take a model out of the catalogue."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.hdel(self._key("models"), name)
        pipe.srem(self._key("unreadable"), f"model:{name}")
        await self._ask(pipe.execute())

    async def models(self) -> tuple[ModelEntry, ...]:
        """Return the catalogue, by name."""
        call = cast(Awaitable[Any], self._redis.hgetall(self._key("models")))
        found: Mapping[bytes, bytes] = await self._ask(call)
        entries: list[ModelEntry] = []
        for name in sorted(found):
            try:
                entries.append(ModelEntry.model_validate_json(found[name]))
            except ValidationError as error:
                await self._note_unreadable(f"model:{name.decode('utf-8', 'replace')}", error)
        return tuple(entries)

    async def announce_worker(self, worker: WorkerEntry) -> None:
        """Announce or refresh a live worker."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(self._key("worker", worker.id), orjson.dumps(worker), ex=WORKER_TTL_S)
        pipe.sadd(self._key("workers"), worker.id)
        await self._ask(pipe.execute())

    async def retire_worker(self, worker_id: str) -> None:
        """Forget a worker that stops."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.delete(self._key("worker", worker_id))
        pipe.srem(self._key("workers"), worker_id)
        await self._ask(pipe.execute())

    async def workers(self) -> tuple[WorkerEntry, ...]:
        """Return the live workers; those that fell silent are forgotten."""
        key = self._key("workers")
        members = await self._ask(cast(Awaitable[Any], self._redis.smembers(key)))
        ids = sorted(member.decode() for member in members)
        if not ids:
            return ()
        keys = [self._key("worker", i) for i in ids]
        found = await self._ask(cast(Awaitable[Any], self._redis.mget(keys)))
        gone = [i for i, value in zip(ids, found, strict=True) if value is None]
        if gone:
            await self._ask(cast(Awaitable[Any], self._redis.srem(key, *gone)))
        entries = [_worker_entry(value) for value in found if value is not None]
        return tuple(entry for entry in entries if entry is not None)

    async def backlog(self, model: str) -> Backlog:
        """Return the model's remaining work."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.zcard(self._key("pending", model))
        pipe.scard(self._key("running", model))
        pipe.hmget(self._key("work", model), "pending_units", "running_units")
        pending, running, units = await self._ask(pipe.execute())
        # Sums of rounded decimals may miss zero by a hair; no jobs means no work.
        waiting = float(units[0] or 0) if pending else 0.0
        active = float(units[1] or 0) if running else 0.0
        return Backlog(pending, running, max(0.0, waiting), max(0.0, active))

    async def totals(self) -> Totals:
        """Return the counters for metrics."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.hgetall(self._key("totals"))
        pipe.get(self._key("result_bytes"))
        pipe.scard(self._key("unreadable"))
        counters, results, unreadable = await self._ask(pipe.execute())
        counts = {name.decode(): int(value) for name, value in counters.items()}
        ended = {s.value: counts.get(s.value, 0) for s in JobStatus if s.ended}
        return Totals(
            ended,
            {code: counts.get(f"failed:{code}", 0) for code in FAILURE_CODES},
            counts.get("created", 0),
            counts.get("leases_reaped", 0),
            int(results or 0),
            await self._intake.memory_bytes(),
            unreadable,
        )

    async def latencies(self, model: str) -> tuple[Latency, ...]:
        """Return how long the model's jobs took, by outcome."""
        call = cast(Awaitable[Any], self._redis.hgetall(self._key("latency", model)))
        kept: Mapping[bytes, bytes] = await self._ask(call)
        return latencies({name.decode(): value.decode() for name, value in kept.items()})

    async def ping(self) -> None:
        """Check that the store answers."""
        await self._ask(cast(Awaitable[Any], self._redis.ping()))

    async def close(self) -> None:
        """Release connections."""
        await self._hub.close()
        await disconnect(self._redis, "the store")


_WORKER = TypeAdapter(WorkerEntry)


def _worker_entry(value: bytes) -> WorkerEntry | None:
    """Read a worker's announcement, None where it is damaged; a newer worker may say more."""
    try:
        return _WORKER.validate_json(value)
    except ValidationError as error:
        log.error("a worker's announcement is damaged", reason=str(error))
        return None


def _fence(lease: Lease) -> dict[str, Any]:
    return {"id": lease.job_id, "fence": lease.fence}
