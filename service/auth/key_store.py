"""API keys in Redis: one hash per key, written by the command line and read by every door."""

import time
from collections.abc import Awaitable, Mapping
from dataclasses import replace
from typing import Any, cast

import structlog
from redis.asyncio.client import Pipeline

from jobs.errors import JobsError
from jobs.redis.connection import ask, connect, disconnect
from jobs.schema import SCHEMA_VERSION, Priority
from jobs.settings import JobsSettings
from service.auth.api_key import ApiKey, digest, new_id, new_secret, text_of
from service.auth.door_keys import door_key
from service.auth.retired import Retired, retire
from service.auth.scope import Scope

log = structlog.get_logger()
DEFAULT_PRIORITIES = frozenset({Priority.NORMAL, Priority.LOW})
"""The classes that a new key may ask for."""


class UnknownKey(JobsError):
    """No such key exists."""

    def __init__(self, key_id: str) -> None:
        super().__init__(f"there is no key {key_id!r}")


class KeyStore:
    """Creates, finds and revokes keys. All methods raise StoreUnavailable if Redis is."""

    def __init__(self, settings: JobsSettings) -> None:
        self._redis = connect(settings)
        self._settings = settings

    def _key(self, *parts: str) -> str:
        return door_key(self._settings, *parts)

    async def create(
        self,
        tenant: str,
        scopes: frozenset[Scope],
        *,
        label: str = "",
        expires_at: float | None = None,
        rate_limit: int | None = None,
        priorities: frozenset[Priority] = DEFAULT_PRIORITIES,
    ) -> tuple[ApiKey, str]:
        """Store a new key; return it with the text that clients send, which is not stored."""
        secret = new_secret()
        key = ApiKey(
            new_id(), tenant, label, scopes, digest(secret), time.time(), expires_at,
            rate_limit=rate_limit, priorities=priorities,
        )  # fmt: skip
        pipe = self._redis.pipeline()
        pipe.hset(self._key("key", key.id), mapping=_encode(key))
        pipe.sadd(self._key("keys"), key.id)
        await ask(pipe.execute())
        return key, text_of(key.id, secret)

    async def find(self, key_id: str) -> ApiKey | None:
        """Return the key with this id."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.hgetall(self._key("key", key_id))
        pipe.hget(self._key("keys_used"), key_id)
        fields, used = await ask(pipe.execute())
        return _decode(key_id, fields, used) if fields else None

    async def all(self, tenant: str | None = None) -> tuple[ApiKey, ...]:
        """Return all keys, or those of a tenant, oldest first."""
        members = await ask(cast(Awaitable[Any], self._redis.smembers(self._key("keys"))))
        ids = [member.decode() for member in members]
        pipe = self._redis.pipeline(transaction=False)
        pipe.hgetall(self._key("keys_used"))
        for key_id in ids:
            pipe.hgetall(self._key("key", key_id))
        used, *found = await ask(pipe.execute())
        keys = [
            _decode(key_id, fields, used.get(key_id.encode()))
            for key_id, fields in zip(ids, found, strict=True)
        ]
        chosen = (key for key in keys if key is not None and tenant in (None, key.tenant))
        return tuple(sorted(chosen, key=lambda key: key.created_at))

    async def rotate(self, key_id: str, overlap_s: float) -> tuple[ApiKey, str]:
        """Give a key a new secret; earlier ones are valid for at most ``overlap_s``.

        Raises:
            UnknownKey: there is no such key.
        """
        secret, name = new_secret(), self._key("key", key_id)
        rotated: list[ApiKey] = []

        async def change(pipe: Pipeline) -> None:
            fields = await cast(Awaitable[Any], pipe.hgetall(name))
            if not fields:
                raise UnknownKey(key_id)
            old = _decode(key_id, fields, None)
            if old is None:
                raise UnknownKey(key_id)
            retired = retire(old.sha256, old.all_retired(), overlap_s, time.time())
            key = replace(
                old,
                sha256=digest(secret),
                previous_sha256=retired[0][0],
                previous_until=retired[0][1],
                retired=retired,
            )
            cast(Any, pipe).multi()
            pipe.hset(name, mapping=_encode(key))
            rotated[:] = [key]

        await ask(self._redis.transaction(cast(Any, change), name))
        return rotated[0], text_of(key_id, secret)

    async def revoke(self, key_id: str) -> None:
        """Delete a key. Raises: UnknownKey."""
        pipe = self._redis.pipeline()
        pipe.delete(self._key("key", key_id))
        pipe.srem(self._key("keys"), key_id)
        pipe.hdel(self._key("keys_used"), key_id)
        if not (await ask(pipe.execute()))[0]:
            raise UnknownKey(key_id)

    async def touch(self, key_id: str) -> None:
        """Record that a key was used now."""
        call = self._redis.hset(self._key("keys_used"), key_id, f"{time.time():.0f}")
        await ask(cast(Awaitable[Any], call))

    async def close(self) -> None:
        """Release connections."""
        await disconnect(self._redis, "the key store")


def _encode(key: ApiKey) -> Mapping[Any, Any]:
    return {
        "id": key.id,
        "tenant": key.tenant,
        "label": key.label,
        "scopes": " ".join(sorted(key.scopes)),
        "sha256": key.sha256,
        "created_at": f"{key.created_at:.0f}",
        "expires_at": "" if key.expires_at is None else f"{key.expires_at:.0f}",
        "previous_sha256": key.previous_sha256 or "",
        "previous_until": f"{key.previous_until:.6f}",
        "retired": " ".join(f"{sha256}:{until:.6f}" for sha256, until in key.retired),
        "priorities": " ".join(sorted(key.priorities)),
        "schema_version": str(SCHEMA_VERSION),
        "rate_limit": "" if key.rate_limit is None else str(key.rate_limit),
    }


def _decode(key_id: str, fields: Mapping[bytes, bytes], used: bytes | None) -> ApiKey | None:
    """Return a stored key; None, with a line in the log, where it is damaged."""
    try:
        return _parse(fields, used) if fields else None
    except (KeyError, ValueError) as error:
        log.error("a stored API key is damaged", key_id=key_id, reason=repr(error))
        return None


def _parse(fields: Mapping[bytes, bytes], used: bytes | None) -> ApiKey:
    text = {name.decode(): value.decode() for name, value in fields.items()}
    known = {scope.value for scope in Scope}
    return ApiKey(
        id=text["id"],
        tenant=text["tenant"],
        label=text["label"],
        # A scope of a newer version permits nothing here.
        scopes=frozenset(Scope(word) for word in text["scopes"].split() if word in known),
        sha256=text["sha256"],
        created_at=float(text["created_at"]),
        expires_at=float(text["expires_at"]) if text["expires_at"] else None,
        previous_sha256=text["previous_sha256"] or None,
        previous_until=float(text["previous_until"]),
        rate_limit=int(text["rate_limit"]) if text["rate_limit"] else None,
        last_used_at=None if used is None else float(used),
        retired=tuple(_retired(word) for word in text.get("retired", "").split()),
        priorities=_priorities(text.get("priorities")),
    )


def _retired(word: str) -> Retired:
    sha256, _, until = word.partition(":")
    return sha256, float(until)


def _priorities(stored: str | None) -> frozenset[Priority]:
    """Return a key's classes; keys of earlier versions have all of them, as they always had."""
    if stored is None:
        return frozenset(Priority)
    known = {priority.value for priority in Priority}
    return frozenset(Priority(word) for word in stored.split() if word in known)
