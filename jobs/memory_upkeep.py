"""What time does to jobs in memory: leases run out, deadlines pass, results grow old."""

from jobs.memory_life import MemoryLife
from jobs.schema import JobError, JobStatus
from jobs.settings import JobsSettings
from jobs.store import Swept


def forgive_silence(life: MemoryLife, settings: JobsSettings, now: float) -> None:
    """Give every lease a new term after a while in which nobody could renew."""
    if now - life.seen > settings.lease_s / 2:
        for job in life.jobs.values():
            if job.status is JobStatus.RUNNING:
                job.lease_until = now + settings.lease_s
    life.seen = now


def sweep(life: MemoryLife, settings: JobsSettings, now: float) -> Swept:
    """Requeue jobs whose lease has run out, end those past their deadline, bound the results."""
    running = [job for job in life.jobs.values() if job.status is JobStatus.RUNNING]
    forgive_silence(life, settings, now)
    for job in running:  # where the clock was set back, a lease must not last for as long
        job.lease_until = min(job.lease_until, now + settings.lease_s)
    expired = []
    for job in life.jobs.values():
        if not job.status.ended and job.expires_at is not None and job.expires_at <= now:
            life.finish(job, JobStatus.EXPIRED)
            expired.append(job.id)
    requeued, failed = [], []
    for job in running:
        if job.status is not JobStatus.RUNNING or job.lease_until > now:
            continue
        life.reaped += 1
        job.deaths += 1
        if job.deaths >= settings.max_deaths:
            deaths = f"its worker died {job.deaths} times without a new checkpoint"
            error = JobError(code="worker_died", detail=f"{deaths}, last {job.worker or ''}")
            life.finish(job, JobStatus.FAILED, error)
            failed.append(job.id)
        else:
            life.enqueue(job)
            requeued.append((job.id, job.spec.model))
    return Swept(tuple(requeued), tuple(expired), tuple(failed), _bound(life, settings, now))


def _bound(life: MemoryLife, settings: JobsSettings, now: float) -> int:
    """Drop pictures that are too old or too many, and forget records past their time."""
    kept = sorted(
        (j for j in life.jobs.values() if j.status is JobStatus.SUCCEEDED and j.size_bytes),
        key=lambda job: job.finished_at or 0.0,
    )
    dropped = 0
    for job in kept:
        old = now - (job.finished_at or now) >= settings.result_ttl_s
        if old or life.results_bytes > settings.max_results_bytes:
            job.results_dropped = True
            dropped += 1
    for job in list(life.jobs.values()):
        if job.finished_at is not None and now - job.finished_at >= settings.record_ttl_s:
            life.forget(job.id)
    return dropped
