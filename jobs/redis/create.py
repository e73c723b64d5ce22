"""Creating jobs on Redis, durably if requested, and the reasons for refusing one."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from jobs.errors import (
    BacklogFull,
    BacklogShareExceeded,
    DeadlineUnmeetable,
    IdempotencyConflict,
    JobsError,
    LargerThanQuota,
    QuotaExceeded,
    StoreFull,
)
from jobs.fleet import WorkerEntry
from jobs.redis.durability import Durability
from jobs.redis.records import warning_fields
from jobs.redis.scripts import Scripts
from jobs.redis.server import ServerWatch
from jobs.schema import Durable, JobSpec
from jobs.settings import JobsSettings
from jobs.store import CreateOptions

DEFAULT_RETRY_AFTER_S = 30.0


class JobCreator:
    """Creates jobs. ``workers`` returns the live ones, whose speed decides about deadlines."""

    def __init__(
        self,
        redis: "Redis",
        scripts: Scripts,
        settings: JobsSettings,
        workers: Callable[[], Awaitable[Sequence[WorkerEntry]]],
        server: ServerWatch,
    ) -> None:
        self._redis = redis
        self._scripts = scripts
        self._settings = settings
        self._workers = workers
        self._durability = Durability(redis, settings)
        self._server = server

    async def create(
        self, job_id: str, spec: JobSpec, units: float, options: CreateOptions
    ) -> tuple[str, bool]:
        """Return the job's id, and whether it is one created before under the same key.

        Raises:
            JobsError: see :meth:`jobs.store.JobStore.create`.
        """
        memory = await self._server.check()
        if memory.used_bytes > memory.limit_bytes:
            raise StoreFull
        arguments: dict[str, Any] = {
            "id": job_id,
            "model": spec.model,
            "tenant": spec.tenant,
            "spec": spec.stored(),
            "rank": spec.priority.rank,
            "units": units,
            "total_steps": spec.num_inference_steps * spec.num_images,
            "schema_version": spec.schema_version,
        }
        if spec.deadline_s is not None:
            arguments["deadline_s"] = spec.deadline_s
            workers = await self._workers()
            if speed := full_speed(workers, spec.model, self._settings.max_workers):
                arguments["speed"] = speed
        if traceparent := options.get("traceparent"):
            arguments["traceparent"] = traceparent
        if webhook := options.get("webhook"):
            arguments["webhook"] = webhook.model_dump_json()
        if warnings := options.get("warnings"):
            arguments["warnings"] = warning_fields(warnings)
        if idempotency := options.get("idempotency"):
            arguments["idempotency"] = {
                "key": f"{spec.tenant}:{idempotency.key}",
                "fingerprint": idempotency.fingerprint,
            }
        outcome, *found = await self._run(job_id, arguments, options.get("durable"))
        if outcome in (b"created", b"replayed"):
            return found[0].decode(), outcome == b"replayed"
        if outcome == b"conflict":
            raise IdempotencyConflict
        raise await self._refusal(outcome, spec, units, [float(value) for value in found])

    async def _run(
        self, job_id: str, arguments: dict[str, Any], durable: Durable | None
    ) -> Sequence[bytes]:
        """Run the script; if requested, wait until the job that it created or found is durable."""
        found: Sequence[bytes]
        if not self._durability.wanted(durable):
            found = await self._scripts("create", arguments)
            return found
        await self._durability.check(job_id)

        def fill(pipe: Any) -> None:
            self._scripts.queue(pipe, "create", arguments | {"durable": True})
            self._durability.queue(pipe)

        found, confirmed = await self._scripts.execute(fill)
        if found[0] in (b"created", b"replayed"):
            self._durability.confirm(found[1].decode(), confirmed)
        return found

    async def _refusal(
        self, outcome: bytes, spec: JobSpec, units: float, found: Sequence[float]
    ) -> JobsError:
        """Return the reason for refusing a job."""
        if outcome == b"late":
            assert spec.deadline_s is not None
            return DeadlineUnmeetable(spec.deadline_s, found[0])
        workers = await self._workers()
        if outcome == b"full":
            over = found[0] + units - self._settings.max_backlog_units
            return BacklogFull(retry_after_s(workers, spec.model, over))
        if outcome == b"share":
            part, queued = found
            wait_s = retry_after_s(workers, spec.model, queued + units - part)
            return BacklogShareExceeded(spec.tenant, spec.model, part, queued, wait_s)
        quota, outstanding, share = found
        if units > quota:
            return LargerThanQuota(spec.tenant, quota, units)
        over = (outstanding + units - quota) / share
        wait_s = retry_after_s(workers, spec.model, over)
        return QuotaExceeded(spec.tenant, quota, outstanding, wait_s)


@dataclass(frozen=True)
class Speed:
    """Units per second with full batches."""

    all: float  # of all the model's workers, including those that may yet be started
    one: float  # of the fastest worker


def full_speed(workers: Iterable[WorkerEntry], model: str, max_workers: int) -> Speed | None:
    """Return the top speed of a model's workers, None if none is live or one is not measured.

    Workers yet to be started, up to ``max_workers``, count as ready and as fast as the fastest.
    """
    speeds = [w.units_per_s for w in workers if w.model == model and not w.draining]
    if not speeds or min(speeds) <= 0:
        return None
    startable = max(0, max_workers - len(speeds))
    return Speed(sum(speeds) + startable * max(speeds), max(speeds))


def retry_after_s(workers: Iterable[WorkerEntry], model: str, units: float) -> float:
    """Return the seconds that the model's workers need for the units at their current rate."""
    rate = sum(worker.rows_per_s for worker in workers if worker.model == model)
    return max(1.0, units / rate) if rate > 0 else DEFAULT_RETRY_AFTER_S
