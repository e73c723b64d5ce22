"""What a store in memory takes on, and why it refuses the rest."""

from collections.abc import Sequence

from jobs.admission import full_speed, over_quota, retry_after_s
from jobs.errors import BacklogFull, DeadlineUnmeetable
from jobs.memory_job import MemoryJob
from jobs.memory_life import MemoryLife
from jobs.settings import JobsSettings
from jobs.store import WorkerEntry


def admit(
    life: MemoryLife,
    settings: JobsSettings,
    workers: Sequence[WorkerEntry],
    job: MemoryJob,
    outstanding: float,
) -> None:
    """Check a new job against what is outstanding (units of its model).

    Raises:
        BacklogFull, QuotaExceeded, LargerThanQuota, DeadlineUnmeetable: as
            :meth:`jobs.store.JobStore.create` has it.
    """
    spec, units = job.spec, job.units
    over = outstanding + units - settings.max_backlog_units
    if outstanding > 0 and over > 0:
        raise BacklogFull(retry_after_s(workers, spec.model, over))
    mine = life.tenants.load(spec.tenant)
    over = mine.outstanding_units + units - mine.max_units
    if mine.max_units > 0 and over > 0:
        busy = {j.spec.tenant for j in life.jobs.values() if not j.status.ended}
        others = len(busy - {spec.tenant}) * settings.tenant_weight
        wait_s = retry_after_s(workers, spec.model, over * (mine.weight + others) / mine.weight)
        raise over_quota(spec.tenant, units, mine.max_units, mine.outstanding_units, wait_s)
    speed = full_speed(workers, spec.model, settings.max_workers)
    if spec.deadline_s is None or speed is None:
        return
    _, before = life.order(spec.model).ahead(job)
    earliest_s = before / speed.all + units / speed.one
    if earliest_s > spec.deadline_s:
        raise DeadlineUnmeetable(spec.deadline_s, earliest_s)
