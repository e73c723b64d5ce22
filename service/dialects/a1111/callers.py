"""What this API remembers of a caller: its chosen model, and its jobs."""

import hashlib
import re

from redis.asyncio import Redis

from jobs.catalogue import ModelEntry
from jobs.redis.connection import ask
from jobs.schema import JobRecord, JobStatus
from service.api.caller import Caller
from service.auth.door_keys import door_key
from service.door import Door

MARK = "a1111"
"""In the metadata of its jobs: whose they are."""
PAGES = 10
CHOSEN_S = 30 * 86_400
"""How long a caller's choice of model is remembered."""


def mark(caller: Caller) -> str:
    """Return a digest that identifies a caller's jobs among all of its tenant's."""
    return hashlib.sha256(caller.holder.encode()).hexdigest()[:16]


def title(model: ModelEntry) -> str:
    """Return a model's name as this API shows it, with the start of its hash."""
    return f"{model.name} [{model.sha256[:10]}]"


async def chosen_model(door: Door, caller: Caller, name: object = None) -> ModelEntry:
    """Return the model with this title or name, or else the one that the caller has chosen.

    Raises:
        Refusal: no model has this name.
    """
    if name is None:
        redis: Redis = door.limiter.redis
        chosen = await ask(redis.get(_choice(door, caller)))
        name = None if chosen is None else chosen.decode()
    if name is not None:
        name = re.sub(r" \[[0-9a-f]{10}\]$", "", str(name))[:64]
    return await door.model(name)


async def choose(door: Door, caller: Caller, model: ModelEntry) -> None:
    """Remember a caller's choice of model."""
    redis: Redis = door.limiter.redis
    await ask(redis.set(_choice(door, caller), model.name, ex=CHOSEN_S))


def _choice(door: Door, caller: Caller) -> str:
    return door_key(door.settings, MARK, caller.tenant, mark(caller))


async def under_way(door: Door, caller: Caller) -> list[JobRecord]:
    """Return the caller's jobs of this API that have not ended, running ones first.

    They are of the newest thousand that wait, and that run.
    """
    found: dict[str, JobRecord] = {}
    for status in (JobStatus.QUEUED, JobStatus.RUNNING):  # one may begin in between
        cursor: str | None = None
        for _ in range(PAGES):
            page = await door.store.list(
                tenant=caller.tenant, status=status, limit=100, cursor=cursor
            )
            own = {r.id: r for r in page.records if r.spec.metadata.get(MARK) == mark(caller)}
            found |= own
            if (cursor := page.cursor) is None:
                break
    return sorted(found.values(), key=lambda record: record.status is not JobStatus.RUNNING)
