"""A short-lived cache of the API keys that a door has looked up."""

import time
from time import monotonic

import structlog

from jobs.errors import TransientStoreError
from service.auth.api_key import ApiKey, parse
from service.auth.key_store import KeyStore

log = structlog.get_logger()

TTL_S = 2.0
"""A revoked key may still work for this long at a door that has just looked it up."""

MAX_KEYS = 10_000
TOUCH_S = 300.0  # between two updates of a key's last use


class Keyring:
    """Finds the key of a request; looks each key up at most once in two seconds."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._cached: dict[str, tuple[float, ApiKey]] = {}

    async def find(self, text: str) -> ApiKey | None:
        """Return the key of this text, None if it is unknown, revoked, expired or malformed.

        Raises:
            TransientStoreError: it is not cached and Redis is unavailable.
        """
        parts = parse(text)
        if parts is None:
            return None
        key_id, secret = parts
        key = await self._look_up(key_id)
        now = time.time()
        if key is None or not key.opens(secret, now):
            return None
        if now - (key.last_used_at or 0.0) > TOUCH_S:
            await self._touch(key_id)
        return key

    async def _look_up(self, key_id: str) -> ApiKey | None:
        found_at, key = self._cached.get(key_id, (0.0, None))
        if key is not None and monotonic() - found_at < TTL_S:
            return key
        asked_at = monotonic()
        key = await self._store.find(key_id)
        self._cached.pop(key_id, None)
        if key is not None:
            if len(self._cached) >= MAX_KEYS:
                self._cached.clear()
            self._cached[key_id] = (asked_at, key)
        return key

    async def _touch(self, key_id: str) -> None:
        try:
            await self._store.touch(key_id)
        except TransientStoreError as error:
            log.warning("last use of a key not recorded", key_id=key_id, reason=str(error))
        self._cached.pop(key_id, None)

    async def close(self) -> None:
        """Release connections."""
        await self._store.close()
