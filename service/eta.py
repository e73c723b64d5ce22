"""The estimated time until a job ends, from the work ahead of it and its workers' speed."""

from jobs.schema import JobRecord, JobStatus
from jobs.store import Backlog, QueuePosition


def eta_s(
    record: JobRecord, position: QueuePosition | None, backlog: Backlog, units_per_s: float
) -> float | None:
    """Return the seconds until the job ends; None if it has ended or no speed is known.

    Running jobs advance together, so one with ``u`` units left ends once every other running job
    has done ``u`` more or has ended. A queued job ends once all work ahead of it and its own is
    done.
    """
    if units_per_s <= 0 or record.status.ended:
        return None
    own = max(0.0, record.units - record.units_done)
    if record.status is JobStatus.RUNNING:
        together = max(1, backlog.running_jobs) * own
        return max(own, min(together, backlog.running_units)) / units_per_s
    ahead = position.units_ahead if position is not None else 0.0
    return (backlog.running_units + ahead + own) / units_per_s
