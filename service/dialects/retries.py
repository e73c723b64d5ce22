"""Requests that a client repeats because it got no answer: they are given the same key again.

Some clients say which try a request is, and send no idempotency key. A first try of a body begins
a new key for it, and the later ones take the latest key of the same caller and body.
"""

import hashlib

import orjson
from redis.asyncio import Redis

from jobs.redis.connection import ask
from jobs.schema import JobRequest
from service.api.caller import Caller
from service.auth.door_keys import door_key
from service.door import Door

REMEMBERED_S = 900
"""Longer than clients go on trying."""


async def key_of_try(door: Door, caller: Caller, body: JobRequest, retries: int) -> str:
    """Return the idempotency key of a request that has been tried ``retries`` times before.

    Raises:
        TransientStoreError: Redis is unavailable.
    """
    fields = body.model_dump(mode="json", exclude_unset=True)
    text = orjson.dumps([caller.holder, fields], option=orjson.OPT_SORT_KEYS)
    digest = hashlib.sha256(text).hexdigest()[:32]
    name = door_key(door.settings, "tries", caller.tenant, digest)
    redis: Redis = door.limiter.redis
    pipe = redis.pipeline(transaction=True)
    pipe.incrby(name, 0 if retries else 1)
    pipe.expire(name, REMEMBERED_S)
    number, _ = await ask(pipe.execute())
    return f"try-{digest}-{number}"
