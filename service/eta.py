"""When a job will be done, from the work before it and the speed that its workers measured."""

from jobs.schema import JobRecord, JobStatus
from jobs.store import Backlog, QueuePosition


def remaining_units(record: JobRecord) -> float:
    """Return the job's own work that is left, in units."""
    return max(0.0, record.units - record.units_done)


def eta_s(
    record: JobRecord, position: QueuePosition | None, backlog: Backlog, units_per_s: float
) -> float | None:
    """Return the seconds until the job ends, or None where nothing is known.

    Running jobs advance together, so one that has ``u`` units left ends when every running job
    has done ``u`` more or has ended; a queued job ends when all work before it and its own is
    done. None once it has ended, and while no worker of its model has measured its speed.
    """
    if units_per_s <= 0 or record.status.ended:
        return None
    own = remaining_units(record)
    if record.status is JobStatus.RUNNING:
        together = max(1, backlog.running_jobs) * own
        return max(own, min(together, backlog.running_units)) / units_per_s
    ahead = position.units_ahead if position is not None else 0.0
    return (backlog.running_units + ahead + own) / units_per_s
