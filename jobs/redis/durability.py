"""Waiting until a write would survive: on the disk of Redis' machine, or with replicas of it."""

from time import monotonic
from typing import Any

from redis.asyncio import Redis

from jobs.errors import DurabilityUnsupported, NotDurable
from jobs.redis.connection import ask
from jobs.schema import Durable
from jobs.settings import JobsSettings

WAITAOF_SINCE = (7, 2)  # of Redis; every Valkey has it
LOOK_S = 1.0


class Durability:
    """Confirms writes of one connection: ``queue`` goes into the pipeline that wrote."""

    def __init__(self, redis: "Redis", settings: JobsSettings) -> None:
        self._redis = redis
        self._settings = settings
        self._looked_at = float("-inf")
        self._server: dict[str, Any] = {}

    def wanted(self, durable: Durable | None) -> bool:
        """Whether a write has to be confirmed: the request's word, else the service's."""
        return (durable or self._settings.durable) == "strict"

    async def check(self, job_id: str) -> None:
        """Check that the server could confirm a write, before anything is written.

        Raises:
            DurabilityUnsupported: it never could, as it is.
            NotDurable: fewer replicas are connected than have to confirm.
        """
        if monotonic() - self._looked_at > LOOK_S:
            self._server = await ask(self._redis.info("everything"))
            self._looked_at = monotonic()
        replicas = self._settings.durable_replicas
        if replicas:
            connected = int(self._server["connected_slaves"])
            if connected < replicas:
                raise NotDurable(job_id, f"{connected} of {replicas} replicas are connected")
            return
        version = str(self._server["redis_version"])
        if tuple(int(part) for part in version.split(".")[:2]) < WAITAOF_SINCE:
            raise DurabilityUnsupported(f"Redis {version} has no WAITAOF; 7.2 has, and Valkey")
        if not int(self._server["aof_enabled"]):
            raise DurabilityUnsupported("Redis runs without appendonly")

    def queue(self, pipe: Any) -> None:
        """Put the wait behind the write into a pipeline."""
        wait_ms = int(self._settings.durable_timeout_s * 1000)
        if self._settings.durable_replicas:
            pipe.execute_command("WAIT", self._settings.durable_replicas, wait_ms)
        else:
            pipe.execute_command("WAITAOF", 1, 0, wait_ms)

    def confirm(self, job_id: str, answer: Any) -> None:
        """Check the wait's answer. Raises: NotDurable, the time was up before."""
        replicas, wait_s = self._settings.durable_replicas, self._settings.durable_timeout_s
        if replicas:
            if int(answer) < replicas:
                raise NotDurable(
                    job_id, f"{answer} of {replicas} replicas have it after {wait_s:g} s", kept=True
                )
        elif int(answer[0]) < 1:
            raise NotDurable(job_id, f"it is not on disk after {wait_s:g} s", kept=True)
