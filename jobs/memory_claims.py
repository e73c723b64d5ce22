"""Who gets which job in memory: claims, room for suspect jobs, calls to park."""

import secrets

from jobs.memory_job import MemoryJob
from jobs.memory_life import MemoryLife
from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from jobs.store import Claim, Lease


class MemoryClaims:
    """Hands out the jobs of a store in memory."""

    def __init__(self, life: MemoryLife) -> None:
        self._life = life
        self._fences = 0
        self._making_room: dict[str, tuple[str, float]] = {}  # model → worker, until
        self._calls: dict[str, list[float]] = {}  # by model, when a worker was told to park

    def claim(
        self, settings: JobsSettings, now: float, model: str, worker: str, *, idle: bool
    ) -> Claim | None:
        """Hand out the next job, as :meth:`jobs.store.JobStore.claim` has it."""
        order = self._life.order(model)
        making_room = False

        def may(job: MemoryJob) -> bool:
            nonlocal making_room
            if idle or job.deaths < settings.suspect_deaths:
                return True
            making_room = making_room or self._makes_room(settings, now, job, worker)
            return False

        found = order.choose(lambda job: _in_time(job, now) and may(job))
        if found is None or making_room:
            return None
        job, served_as = found
        order.serve(job, served_as, settings.class_share)
        self._life.take_out(job)
        self._fences += 1
        job.status, job.fence = JobStatus.RUNNING, f"{self._fences}-{secrets.token_hex(8)}"
        job.attempts += 1
        job.worker, job.claimed_at = worker, now
        job.started_at = now if job.started_at is None else job.started_at
        job.lease_until = now + settings.lease_s
        self._life.emit(job, "status")
        return Claim(
            job.record(),
            Lease(job.id, model, worker, job.fence),
            tuple(job.checkpoints.values()),
            tuple(sorted(job.images)),
            job.deaths >= settings.suspect_deaths,
            served_as,
            self._life.tenants.weight(job.spec.tenant),
        )

    def _makes_room(self, settings: JobsSettings, now: float, job: MemoryJob, worker: str) -> bool:
        """Whether this worker has to become idle for a suspect job that has waited too long."""
        if now - job.queued_at < settings.suspect_wait_s:
            return False
        holder, until = self._making_room.get(job.spec.model, ("", 0.0))
        if until > now and holder != worker:
            return False
        self._making_room[job.spec.model] = worker, now + 2 * settings.lease_s
        return True

    def called(self, settings: JobsSettings, now: float, model: str, parkable: int) -> int | None:
        """Return the rank of a waiting job that a lower one should be parked for."""
        for rank in range(parkable):
            job = self._life.order(model).first(
                rank, lambda job: _in_time(job, now) and job.deaths < settings.suspect_deaths
            )
            if job is None:
                continue
            if now - job.queued_at < settings.park_after_s:
                return None
            calls = [at for at in self._calls.get(model, ()) if at > now - 1]
            self._calls[model] = [*calls, now]
            waiting = self._life.of(model, JobStatus.QUEUED)
            above = sum(each.spec.priority.rank <= rank for each in waiting)
            return rank if len(calls) < above else None
        return None


def _in_time(job: MemoryJob, now: float) -> bool:
    return job.expires_at is None or job.expires_at > now
