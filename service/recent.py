"""A value that is read again only when the last reading has become too old."""

import asyncio
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Generic, TypeVar

from jobs.errors import StoreUnavailable

T = TypeVar("T")
MAX_AGE_S = 1.0


class Recent(Generic[T]):
    """Reads through ``fetch`` and keeps the answer for ``max_age_s``; one reading at a time."""

    def __init__(self, fetch: Callable[[], Awaitable[T]], max_age_s: float = MAX_AGE_S) -> None:
        self._fetch = fetch
        self._max_age_s = max_age_s
        self._lock = asyncio.Lock()
        self._kept: tuple[float, T] | None = None
        self._failed: tuple[float, StoreUnavailable] | None = None

    async def get(self) -> T:
        """Return the value, at most ``max_age_s`` old. Raises: StoreUnavailable."""
        return await self._read(self._max_age_s)

    async def refresh(self) -> T:
        """Return the value as it is now. Raises: StoreUnavailable."""
        return await self._read(0.0)

    async def _read(self, max_age_s: float) -> T:
        asked_at = monotonic()
        async with self._lock:
            if self._kept is None or self._kept[0] < asked_at - max_age_s:
                if self._failed is not None and self._failed[0] >= asked_at:
                    # Those who waited behind a failure do not each try again in turn.
                    raise StoreUnavailable(str(self._failed[1]))
                started_at = monotonic()
                try:
                    self._kept = (started_at, await self._fetch())
                except StoreUnavailable as error:
                    self._failed = (monotonic(), error)
                    raise
            return self._kept[1]
