"""A value that is fetched again once it is older than its time to live."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Generic, TypeVar

from jobs.errors import StoreUnavailable

T = TypeVar("T")
TTL_S = 1.0


class TtlCache(Generic[T]):
    """Caches what ``fetch`` returns for ``ttl_s``; concurrent readers share one fetch."""

    def __init__(self, fetch: Callable[[], Awaitable[T]], ttl_s: float = TTL_S) -> None:
        self._fetch = fetch
        self._ttl_s = ttl_s
        self._lock = asyncio.Lock()
        self._cached: tuple[float, T] | None = None
        self._failed: tuple[float, StoreUnavailable] | None = None

    async def get(self) -> T:
        """Return the value, at most ``ttl_s`` old. Raises: StoreUnavailable."""
        return await self._read(self._ttl_s)

    async def refresh(self) -> T:
        """Return the value as it is now. Raises: StoreUnavailable."""
        return await self._read(0.0)

    async def _read(self, max_age_s: float) -> T:
        asked_at = monotonic()
        async with self._lock:
            if self._cached is None or self._cached[0] < asked_at - max_age_s:
                if self._failed is not None and self._failed[0] >= asked_at:
                    # Readers that waited for a fetch that failed do not each try again in turn.
                    raise StoreUnavailable(str(self._failed[1]))
                started_at = monotonic()
                try:
                    self._cached = (started_at, await self._fetch())
                except StoreUnavailable as error:
                    self._failed = (monotonic(), error)
                    raise
            return self._cached[1]
