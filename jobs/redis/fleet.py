"""Models and workers as they announce themselves in Redis."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar, cast

import orjson
import structlog
from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis

from jobs.catalogue import ModelEntry
from jobs.fleet import BATCH_TTL_S, WATCHED_TTL_S, WORKER_TTL_S, Batch, Wishes, WorkerEntry
from jobs.redis.connection import ask
from jobs.redis.damage import Damage

log = structlog.get_logger()
T = TypeVar("T")
DRAIN_TTL_S = 3600
"""An operator's wish outlives its worker, or lasts through an outage, for so long."""


class RedisFleet:
    """The catalogue and the live workers of a :class:`jobs.store.JobStore`."""

    def __init__(self, redis: "Redis", key: Callable[..., str], damage: Damage) -> None:
        self._redis = redis
        self._key = key
        self._damage = damage

    async def announce_model(self, model: ModelEntry) -> None:
        """Add a model to the catalogue."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.hset(self._key("models"), model.name, model.model_dump_json())
        pipe.srem(self._key("unreadable"), f"model:{model.name}")
        await ask(pipe.execute())

    async def forget_model(self, name: str) -> bool:
        """Remove a model from the catalogue, readable or not; return whether it was there."""
        stored = name.encode("utf-8", "surrogateescape")  # as it comes from a command line
        pipe = self._redis.pipeline(transaction=False)
        pipe.hdel(self._key("models"), cast(Any, stored))
        pipe.srem(self._key("unreadable"), f"model:{_shown(stored)}")
        return bool((await ask(pipe.execute()))[0])

    async def models(self) -> tuple[ModelEntry, ...]:
        """Return the catalogue, by name."""
        found: Mapping[bytes, bytes] = await ask(self._redis.hgetall(self._key("models")))
        entries: list[ModelEntry] = []
        for name in sorted(found):
            try:
                entries.append(_model_entry(name, found[name]))
            except ValueError as error:
                await self._damage.note_model(name, found[name], error)
        return tuple(entries)

    async def announce_worker(self, worker: WorkerEntry) -> Wishes:
        """Announce or refresh a live worker; return what is wanted of it."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(self._key("worker", worker.id), orjson.dumps(worker), ex=WORKER_TTL_S)
        pipe.sadd(self._key("workers"), worker.id)
        pipe.expire(self._key("drain", worker.id), DRAIN_TTL_S)
        pipe.exists(self._key("watched", worker.id))
        *_, drained, watched = await ask(pipe.execute())
        return Wishes(bool(drained), bool(watched))

    async def retire_worker(self, worker_id: str) -> None:
        """Remove a worker that stops."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.delete(self._key("worker", worker_id), self._key("drain", worker_id))
        pipe.srem(self._key("workers"), worker_id)
        await ask(pipe.execute())

    async def drain_worker(self, worker_id: str, *, wanted: bool) -> bool:
        """Have a live worker give its jobs back and take none, or take jobs again."""
        if not await ask(self._redis.exists(self._key("worker", worker_id))):
            return False
        key = self._key("drain", worker_id)
        await ask(self._redis.set(key, 1, ex=DRAIN_TTL_S) if wanted else self._redis.delete(key))
        return True

    async def take_load(self, model: str, worker: str, hold_s: float) -> bool:
        """Return whether the worker may load the model; no other one may for ``hold_s``."""
        key, hold_ms = self._key("loading", model), max(1, round(1000 * hold_s))
        return bool(await ask(self._redis.set(key, worker, nx=True, px=hold_ms)))

    async def workers(self) -> tuple[WorkerEntry, ...]:
        """Return the live workers, and drop the expired ones from the index."""
        key = self._key("workers")
        members = await ask(self._redis.smembers(key))
        ids = sorted(member.decode() for member in members)
        if not ids:
            return ()
        found = await ask(self._redis.mget([self._key("worker", i) for i in ids]))
        gone = [i for i, value in zip(ids, found, strict=True) if value is None]
        if gone:
            await ask(self._redis.srem(key, *gone))
        entries = [_read(_WORKER, value) for value in found if value is not None]
        return tuple(entry for entry in entries if entry is not None)

    async def watch_batch(self, worker_id: str) -> Batch | None:
        """Have a worker publish its batch; return the newest one."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.set(self._key("watched", worker_id), 1, ex=WATCHED_TTL_S)
        pipe.get(self._key("batch", worker_id))
        _, value = await ask(pipe.execute())
        return None if value is None else _read(_BATCH, value)

    async def publish_batch(self, batch: Batch) -> None:
        """Publish what a worker does now."""
        key = self._key("batch", batch.worker)
        await ask(self._redis.set(key, orjson.dumps(batch), ex=BATCH_TTL_S))


def _shown(name: bytes) -> str:
    return name.decode("utf-8", "backslashreplace")


def _model_entry(name: bytes, value: bytes) -> ModelEntry:
    """Return a model's entry. Raises: ValueError, it is damaged."""
    entry = ModelEntry.model_validate_json(value)
    if entry.name.encode() != name:
        raise ValueError(f"it is of the model {entry.name!r}")
    return entry


_WORKER = TypeAdapter(WorkerEntry)
_BATCH = TypeAdapter(Batch)


def _read(adapter: TypeAdapter[T], value: bytes) -> T | None:
    """Return what a worker says, None if it is damaged; fields of newer workers are ignored."""
    try:
        return adapter.validate_json(value)
    except ValidationError as error:
        log.error("a worker's announcement is damaged", reason=str(error))
        return None
