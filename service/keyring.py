"""The keys that a door has looked up a moment ago."""

import time
from time import monotonic

import structlog

from jobs.errors import StoreTrouble
from service.api_key import ApiKey, parse
from service.key_store import KeyStore

log = structlog.get_logger()

KEPT_S = 2.0
"""So long a revoked key may still open a door that has just seen it."""

MOST = 10_000  # keys kept at once
TOUCH_S = 300.0  # last use is told to within this


class Keyring:
    """Finds the key that a request came with; asks the store at most once in two seconds a key."""

    def __init__(self, store: KeyStore) -> None:
        self._store = store
        self._kept: dict[str, tuple[float, ApiKey]] = {}

    async def find(self, text: str) -> ApiKey | None:
        """Return the key of this text, None where it is unknown, revoked, expired or malformed.

        Raises:
            StoreTrouble: it has not been seen in the last seconds, and Redis is away.
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
        found_at, key = self._kept.get(key_id, (0.0, None))
        if key is not None and monotonic() - found_at < KEPT_S:
            return key
        asked_at = monotonic()
        key = await self._store.find(key_id)
        self._kept.pop(key_id, None)
        if key is not None:
            if len(self._kept) >= MOST:
                self._kept.clear()
            self._kept[key_id] = (asked_at, key)
        return key

    async def _touch(self, key_id: str) -> None:
        try:
            await self._store.touch(key_id)
        except StoreTrouble as error:
            log.warning("last use of a key not noted", key_id=key_id, reason=str(error))
        self._kept.pop(key_id, None)

    async def close(self) -> None:
        """Release connections."""
        await self._store.close()
