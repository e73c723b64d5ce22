"""Idempotency keys for clients that retry unanswered requests but send no key of their own.

Some clients number their attempts: the first attempt of a body starts a new key, and later ones get
the latest key for the same caller and body. Others do not: if such a client disconnects before it
is answered, the next identical request gets its key.
"""

import asyncio
import contextlib
import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable
from time import monotonic
from typing import Any, cast

import orjson
import structlog
from fastapi import Request
from redis.asyncio import Redis

from jobs.errors import JobsError, ResultExpired
from jobs.redis.connection import ask
from jobs.schema import JobRequest
from service.api.caller import Caller
from service.auth.door_keys import door_key
from service.door import Door
from service.http.problem import Refusal

log = structlog.get_logger()

REMEMBERED_S = 900
"""Longer than clients keep trying."""
UNANSWERED_S = 120
"""For which a client may retry a request that was not answered."""
NOTICE_S, POLL_S = 0.1, 0.02
"""How long a request waits for the door to notice that an identical one has lost its connection,
since its client may retry sooner, and how often it checks."""


async def key_of_try(door: Door, caller: Caller, body: JobRequest, retries: int) -> str:
    """Return the idempotency key of a request that has been attempted ``retries`` times before.

    Raises:
        TransientStoreError: Redis is unavailable.
    """
    digest = _digest(caller, body)
    name = door_key(door.settings, "tries", caller.tenant, digest)
    redis: Redis = door.limiter.redis
    new = uuid.uuid4().hex
    if not retries:
        await ask(redis.set(name, new, ex=REMEMBERED_S))
        return f"try-{new}"
    first = await ask(redis.set(name, new, ex=REMEMBERED_S, nx=True, get=True))
    return f"try-{new if first is None else first.decode()}"


@contextlib.asynccontextmanager
async def key_until_answered(
    door: Door, caller: Caller, request: Request, body: JobRequest, given: str | None
) -> AsyncIterator[str]:
    """Yield the idempotency key of a request that is answered at the end of the block.

    It is the one that the client has ``given``, or that of an identical request by the same caller
    that disconnected, or a new one: identical requests that are all answered get separate keys.
    The request's body must have been read.

    Raises:
        TransientStoreError: Redis is unavailable.
    """
    if given is not None:
        yield given
        return
    name = door_key(door.settings, "unanswered", caller.tenant, _digest(caller, body))
    found = await _unanswered(door, name)
    key = found or f"try-{uuid.uuid4().hex}"
    door.trying[name] += 1
    left = True  # also when this is cancelled, which is how Ray Serve signals a disconnect
    try:
        yield key
        left = await request.is_disconnected()
    except Refusal as refusal:
        left = refusal.code == "not_ended"  # which asks for a retry
        raise
    except ResultExpired:
        left = False  # another one draws it anew
        raise
    except JobsError:
        left = found is not None  # its job goes on
        raise
    finally:
        if left:
            door.spawn(_keep(door, name, key))
        else:
            _over(door, name)


async def _unanswered(door: Door, name: str) -> str | None:
    """Return the key of an identical request whose client has disconnected, waiting briefly."""
    redis: Redis = door.limiter.redis
    ends_at = monotonic() + NOTICE_S
    while True:
        others = door.trying[name]
        key = await ask(cast(Awaitable[Any], redis.lpop(name)))
        if key is not None or not others or monotonic() >= ends_at:
            return None if key is None else key.decode()
        await asyncio.sleep(POLL_S)


async def _keep(door: Door, name: str, key: str) -> None:
    """Keep a key for the next request, then count this one as over."""
    try:
        pipe = door.limiter.redis.pipeline(transaction=True)
        pipe.rpush(name, key)
        pipe.expire(name, UNANSWERED_S)
        await ask(pipe.execute())
    except JobsError as error:
        log.warning("a retry of this request will be another job", reason=str(error))
    finally:
        _over(door, name)


def _over(door: Door, name: str) -> None:
    door.trying[name] -= 1
    if not door.trying[name]:
        del door.trying[name]


def _digest(caller: Caller, body: JobRequest) -> str:
    fields = body.model_dump(mode="json", exclude_unset=True)
    text = orjson.dumps([caller.holder, fields], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:32]
