"""The estimate of a job's end."""

import pytest

from jobs.schema import JobRecord, JobStatus
from jobs.store import Backlog, QueuePosition
from service.eta import eta_s
from tests.jobs.examples import spec


def record(status: JobStatus, units: float, done: float = 0.0) -> JobRecord:
    return JobRecord(
        id="a", status=status, spec=spec(), units=units, units_done=done, total_steps=10,
        created_at=0.0, queued_at=0.0,
    )  # fmt: skip


def test_queued_job_waits_for_all_work_before_it() -> None:
    job = record(JobStatus.QUEUED, 10)
    backlog = Backlog(pending_jobs=3, running_jobs=2, pending_units=30, running_units=40)
    assert eta_s(job, QueuePosition(3, 20), backlog, 10) == pytest.approx((40 + 20 + 10) / 10)


@pytest.mark.parametrize(
    ("running_jobs", "running_units", "expected"),
    [
        (1, 8, 0.8),  # alone: its own work
        (4, 400, 3.2),  # beside long ones: a quarter of the speed
        (4, 11, 1.1),  # beside short ones: no more than all work there is
    ],
)
def test_running_jobs_share_speed(running_jobs: int, running_units: float, expected: float) -> None:
    job = record(JobStatus.RUNNING, 10, done=2)
    backlog = Backlog(0, running_jobs, 0, running_units)
    assert eta_s(job, None, backlog, 10) == pytest.approx(expected)


def test_nothing_is_promised_without_a_speed_or_after_the_end() -> None:
    backlog = Backlog(1, 0, 10, 0)
    assert eta_s(record(JobStatus.QUEUED, 10), QueuePosition(1, 0), backlog, 0) is None
    assert eta_s(record(JobStatus.FAILED, 10), None, backlog, 10) is None
