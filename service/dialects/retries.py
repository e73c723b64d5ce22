"""Requests that a client repeats because it got no answer: they are given the same key again.

Some clients say which try a request is, and send no idempotency key. A first try of a body begins
a new key for it, and the later ones take the latest key of the same caller and body. Of others all
that is known is that they left before they were answered: the next equal request takes that key.
"""

import contextlib
import hashlib
import uuid
from collections.abc import AsyncIterator

import orjson
from fastapi import Request
from redis.asyncio import Redis

from jobs.errors import JobsError
from jobs.redis.connection import ask
from jobs.schema import JobRequest
from service.api.caller import Caller
from service.auth.door_keys import door_key
from service.door import Door
from service.http.problem import Refusal

REMEMBERED_S = 900
"""Longer than clients go on trying."""


async def key_of_try(door: Door, caller: Caller, body: JobRequest, retries: int) -> str:
    """Return the idempotency key of a request that has been tried ``retries`` times before.

    Raises:
        TransientStoreError: Redis is unavailable.
    """
    digest = _digest(caller, body)
    name = door_key(door.settings, "tries", caller.tenant, digest)
    redis: Redis = door.limiter.redis
    pipe = redis.pipeline(transaction=True)
    pipe.incrby(name, 0 if retries else 1)
    pipe.expire(name, REMEMBERED_S)
    number, _ = await ask(pipe.execute())
    return f"try-{digest}-{number}"


@contextlib.asynccontextmanager
async def key_until_answered(
    door: Door, caller: Caller, request: Request, body: JobRequest, given: str | None
) -> AsyncIterator[str]:
    """Yield an idempotency key for a request that is answered at the end of the block.

    It is that which the client has ``given``, or that of an equal request of the same caller whose
    client left without an answer, or a new one. The request's body has to be read already.

    Raises:
        TransientStoreError: Redis is unavailable.
    """
    if given is not None:
        yield given
        return
    name = door_key(door.settings, "unanswered", caller.tenant, _digest(caller, body))
    redis: Redis = door.limiter.redis
    left: bytes | None = await ask(redis.lpop(name))
    key = f"try-{uuid.uuid4().hex}" if left is None else left.decode()
    answered = False  # also when this is cancelled, which is how Ray Serve signals a disconnect
    try:
        yield key
        answered = not await request.is_disconnected()
    except (Refusal, JobsError) as error:
        answered = getattr(error, "code", "") != "not_ended"
        raise
    finally:
        if not answered:
            pipe = redis.pipeline(transaction=True)
            pipe.rpush(name, key)
            pipe.expire(name, REMEMBERED_S)
            await ask(pipe.execute())


def _digest(caller: Caller, body: JobRequest) -> str:
    fields = body.model_dump(mode="json", exclude_unset=True)
    text = orjson.dumps([caller.holder, fields], option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(text).hexdigest()[:32]
