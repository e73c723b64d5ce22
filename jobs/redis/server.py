"""What Redis says of its memory, and whether it keeps what it is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import monotonic
from typing import Any

import structlog
from redis.asyncio import Redis
from redis.exceptions import RedisError

from jobs.errors import StartError, StoreEvicts
from jobs.redis.connection import ask, connect_blocking
from jobs.settings import JobsSettings

log = structlog.get_logger()
KEEPS = "noeviction"
"""The one policy of a full server that loses nothing."""
RECHECK_S = 1.0
ADMITTED = 0.9
"""Share of ``maxmemory`` up to which jobs are accepted; what runs needs the rest."""


@dataclass(frozen=True)
class ServerMemory:
    """The memory of the server."""

    used_bytes: int = 0
    limit_bytes: int = 0  # above it no job is accepted
    policy: str = KEEPS  # what happens when it is full

    @property
    def evicts(self) -> bool:
        """Whether it deletes keys of its own accord."""
        return self.policy != KEEPS


def server_memory(info: Mapping[str, Any], settings: JobsSettings) -> ServerMemory:
    """Return what a server's INFO says."""
    most, limit = int(info.get("maxmemory", 0)), settings.memory_high_water_bytes
    return ServerMemory(
        int(info["used_memory"]),
        min(limit, int(ADMITTED * most)) if most else limit,
        str(info.get("maxmemory_policy", KEEPS)),
    )


class ServerWatch:
    """Reads the server's memory, at most once a second."""

    def __init__(self, redis: "Redis", settings: JobsSettings) -> None:
        self._redis = redis
        self._settings = settings
        self._read_at = float("-inf")
        self._memory = ServerMemory()

    async def read(self) -> ServerMemory:
        """Return the server's memory, as of at most a second ago."""
        if monotonic() - self._read_at > RECHECK_S:
            info = await ask(self._redis.info("memory"))
            found, before = server_memory(info, self._settings), self._memory
            if found.evicts and found.policy != before.policy:
                log.error("jobs may be lost", reason=str(StoreEvicts(found.policy)))
            self._memory, self._read_at = found, monotonic()
        return self._memory

    async def check(self) -> ServerMemory:
        """Return the same. Raises: StoreEvicts, unless the settings accept that."""
        memory = await self.read()
        if memory.evicts and self._settings.redis_eviction == "refuse":
            raise StoreEvicts(memory.policy)
        return memory


def check_server(settings: JobsSettings) -> None:
    """Check, before a process starts, that Redis keeps jobs; one that is away may come later.

    Raises:
        StartError: it may delete them.
    """
    redis = connect_blocking(settings)
    try:
        info: Any = redis.info("memory")
    except (RedisError, OSError) as error:
        log.warning("maxmemory-policy of Redis not read", reason=str(error))
        return
    finally:
        redis.close()
    memory = server_memory(info, settings)
    if memory.evicts and settings.redis_eviction == "refuse":
        raise StartError(str(StoreEvicts(memory.policy)))
    if memory.limit_bytes < settings.memory_high_water_bytes:
        log.warning(
            "jobs are refused below SFUMATO_MEMORY_HIGH_WATER_BYTES, as maxmemory is lower",
            limit_bytes=memory.limit_bytes,
        )
