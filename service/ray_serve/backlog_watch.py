"""The latest scaling signal of a model, read in the background."""

import asyncio
import logging
from time import monotonic

from jobs.errors import JobsError, StartError
from jobs.redis.store import RedisStore
from jobs.scaling import ScalingSignal, read_signal, unannounced_signal
from jobs.settings import JobsSettings, read_environment

log = logging.getLogger("ray.serve")  # part of the log of Serve's controller

EVERY_S = 1.0
STALE_S = 15.0
"""A signal older than this is not used."""


class BacklogWatch:
    """Reads a model's signal once a second for as long as it is asked for, on the caller's loop.

    Each reading is a task of its own: a task that ran forever would keep the watch alive after its
    last caller is gone.
    """

    def __init__(self, model: str, settings: JobsSettings | None = None) -> None:
        self._model = model
        self._store = RedisStore(settings or _settings())
        self._reading: asyncio.Task[None] | None = None
        self._asked_at = float("-inf")
        self._seen: ScalingSignal | None = None
        self._seen_at = float("-inf")
        self._failing = False

    def latest(self) -> ScalingSignal | None:
        """Return the latest signal without waiting, None if there is none or it is stale."""
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
            if not self._failing:
                log.warning("no scaling signal for %s: %s", self._model, error)
            self._failing = True
            return
        if self._failing:
            log.info("scaling signal for %s is back", self._model)
        self._failing = False
        self._seen = signal or unannounced_signal(self._model, 0.0, [])
        self._seen_at = monotonic()

    async def close(self) -> None:
        """Release connections."""
        if self._reading is not None:
            await self._reading
        await self._store.close()


def _settings() -> JobsSettings:
    try:
        return read_environment(JobsSettings)
    except StartError as error:  # a SystemExit would end Serve's process
        raise RuntimeError(str(error)) from error
