"""Waiting until a write is durable: on the disk of Redis' host, or on replicas."""

from time import monotonic
from typing import Any

from redis.asyncio import Redis

from jobs.errors import DurabilityUnsupported, NotDurable
from jobs.redis.connection import ask
from jobs.schema import Durable
from jobs.settings import JobsSettings

WAITAOF_SINCE = (7, 2)  # Redis version; every Valkey has it
RECHECK_S = 1.0


class Durability:
    """Confirms writes: call ``check``, then ``queue`` in the write's pipeline, then ``confirm``."""

    def __init__(self, redis: "Redis", settings: JobsSettings) -> None:
        self._redis = redis
        self._settings = settings
        self._checked_at = float("-inf")
        self._server: dict[str, Any] = {}

    def wanted(self, durable: Durable | None) -> bool:
        """Return whether a write must be confirmed: by the request, else by the settings."""
        return (durable or self._settings.durable) == "strict"

    async def check(self, job_id: str) -> None:
        """Check that the server could confirm a write, before anything is written.

        Raises:
            DurabilityUnsupported: its version or configuration rules it out.
            NotDurable: fewer replicas are connected than must confirm.
        """
        if monotonic() - self._checked_at > RECHECK_S:
            self._server = await ask(self._redis.info("everything"))
            self._checked_at = monotonic()
        replicas = self._settings.durable_replicas
        if replicas:
            connected = int(self._server["connected_slaves"])
            if connected < replicas:
                raise NotDurable(job_id, f"{connected} of {replicas} replicas are connected")
            return
        version = str(self._server["redis_version"])
        if tuple(int(part) for part in version.split(".")[:2]) < WAITAOF_SINCE:
            raise DurabilityUnsupported(f"Redis {version} has no WAITAOF; use 7.2 or Valkey")
        if not int(self._server["aof_enabled"]):
            raise DurabilityUnsupported("Redis runs without appendonly")

    def queue(self, pipe: Any) -> None:
        """Add the wait to the write's pipeline."""
        wait_ms = int(self._settings.durable_timeout_s * 1000)
        if self._settings.durable_replicas:
            pipe.execute_command("WAIT", self._settings.durable_replicas, wait_ms)
        else:
            pipe.execute_command("WAITAOF", 1, 0, wait_ms)

    def confirm(self, job_id: str, answer: Any) -> None:
        """Check the reply to the wait. Raises: NotDurable, the wait timed out."""
        replicas, wait_s = self._settings.durable_replicas, self._settings.durable_timeout_s
        if replicas:
            if int(answer) < replicas:
                raise NotDurable(
                    job_id,
                    f"{answer} of {replicas} replicas confirmed it within {wait_s:g} s",
                    kept=True,
                )
        elif int(answer[0]) < 1:
            raise NotDurable(job_id, f"it was not on disk within {wait_s:g} s", kept=True)
