"""The newest scaling signal of a model, read beside whoever asks for it."""

import asyncio
import logging
from time import monotonic
from typing import Literal

from jobs.errors import JobsError, StartError
from jobs.redis_store import RedisStore
from jobs.scaling import ScalingSignal, read_signal
from jobs.settings import JobsSettings, read_environment

log = logging.getLogger("ray.serve")  # its lines belong into Serve's controller's log

EVERY_S = 1.0
STALE_S = 15.0
"""A signal older than this says nothing any more."""

UNKNOWN_MODEL: Literal["unknown model"] = "unknown model"
Seen = ScalingSignal | Literal["unknown model"]


class BacklogWatch:
    """Reads a model's signal once a second for as long as somebody asks, on their event loop.

    Each reading is a task of its own: one that ran for ever would keep a watch alive that nobody
    asks any more.
    """

    def __init__(self, model: str, settings: JobsSettings | None = None) -> None:
        self._model = model
        self._store = RedisStore(settings or _settings())
        self._reading: asyncio.Task[None] | None = None
        self._asked_at = float("-inf")
        self._seen: Seen | None = None
        self._seen_at = float("-inf")
        self._trouble = False

    def latest(self) -> Seen | None:
        """Return the newest signal without waiting, None while there is none to go by."""
        now = monotonic()
        idle = self._reading is None or self._reading.done()
        if idle and now - self._asked_at >= EVERY_S:
            self._asked_at = now
            self._reading = asyncio.get_running_loop().create_task(self._read())
        return self._seen if now - self._seen_at <= STALE_S else None

    async def _read(self) -> None:
        try:
            signal = await read_signal(self._store, self._model)
        except JobsError as error:
            if not self._trouble:
                log.warning("no scaling signal of %s: %s", self._model, error)
            self._trouble = True
            return
        if self._trouble:
            log.info("scaling signal of %s is back", self._model)
        self._trouble = False
        self._seen, self._seen_at = signal or UNKNOWN_MODEL, monotonic()

    async def close(self) -> None:
        """Release connections."""
        if self._reading is not None:
            await self._reading
        await self._store.close()


def _settings() -> JobsSettings:
    try:
        return read_environment(JobsSettings)
    except StartError as error:  # would end the process, which is Serve's
        raise RuntimeError(str(error)) from error
