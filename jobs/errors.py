"""Errors of the door, the store and the workers.

JobsError
├── JobNotFound          no such job, or its record has expired
├── InvalidRequest       a request that the model cannot serve
│   └── UnknownModel     no worker has ever announced this model
├── IdempotencyConflict  the key was used with another body
├── BacklogFull          the model's outstanding work has reached its limit
├── QuotaExceeded        the tenant's outstanding work has reached its quota
│   └── BacklogShareExceeded  its queued work has reached its share of the backlog
├── LargerThanQuota      the job alone exceeds its tenant's quota
├── DeadlineUnmeetable   the work ahead of the job leaves no time for it
├── DurabilityUnsupported this Redis cannot confirm durable writes
├── StaleFence           the writer no longer holds the job
├── NewerSchema          a newer version of Sfumato wrote this record
├── UnreadableRecord     a stored record is damaged
├── ResultExpired        the image has expired; its record remains
├── InvalidCursor        a malformed list cursor or event id
└── TransientStoreError         a call that may succeed later
    ├── NotDurable       the job was not confirmed as durable
    ├── StoreFull        the store's memory is past its high-water mark
    ├── StoreEvicts      the store deletes jobs when it is full
    └── StoreUnavailable Redis does not answer

SystemExit
└── StartError           a process that cannot start; it ends with the message
"""


class StartError(SystemExit):
    """The process cannot start."""


class JobsError(Exception):
    """Something went wrong with a job."""

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or (self.__doc__ or "").splitlines()[0])


class JobNotFound(JobsError):
    """There is no such job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"there is no job {job_id!r}")
        self.job_id = job_id


class InvalidRequest(JobsError):
    """The model cannot serve this request."""

    def __init__(self, field: str, message: str, *others: str) -> None:
        super().__init__(message)
        self.field = field
        self.others = others  # further fields that are part of it


class UnknownModel(InvalidRequest):
    """No worker has announced this model."""


class NotBegun(JobsError):
    """A job without a step that could be its last."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} has not begun: there is nothing to end it with")


class IdempotencyConflict(JobsError):
    """This idempotency key was used before with another request."""


class BacklogFull(JobsError):
    """The model's outstanding work has reached its limit."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(f"the backlog is full; try again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class QuotaExceeded(JobsError):
    """The tenant's outstanding work has reached its quota."""

    def __init__(
        self, tenant: str, quota_units: float, outstanding_units: float, retry_after_s: float
    ) -> None:
        super().__init__(
            f"tenant {tenant!r} may have {quota_units:.0f} units outstanding and has "
            f"{outstanding_units:.0f}; try again in {retry_after_s:.0f} s"
        )
        self.quota_units = quota_units
        self.retry_after_s = retry_after_s


class BacklogShareExceeded(QuotaExceeded):
    """The tenant's queued work has reached its share of the model's backlog."""

    def __init__(
        self, tenant: str, model: str, quota_units: float, queued_units: float, retry_after_s: float
    ) -> None:
        JobsError.__init__(
            self,
            f"tenant {tenant!r} may have {quota_units:.0f} units waiting for {model!r} for now "
            f"and has {queued_units:.0f}; try again in {retry_after_s:.0f} s",
        )
        self.quota_units = quota_units
        self.retry_after_s = retry_after_s


class LargerThanQuota(JobsError):
    """The job alone exceeds its tenant's quota."""

    def __init__(self, tenant: str, quota_units: float, units: float) -> None:
        super().__init__(
            f"the job takes {units:.0f} units; tenant {tenant!r} may have {quota_units:.0f} "
            "outstanding"
        )
        self.quota_units = quota_units


class DeadlineUnmeetable(JobsError):
    """The work ahead of the job leaves no time for it."""

    def __init__(self, deadline_s: float, earliest_s: float) -> None:
        super().__init__(
            f"the job cannot finish within {deadline_s:g} s; with the work ahead of it and all "
            f"workers there may be, it takes at least {earliest_s:.1f} s"
        )
        self.earliest_s = earliest_s


class TransientStoreError(JobsError):
    """The store cannot do this now; it may later."""


class NotDurable(TransientStoreError):
    """The job was not confirmed as durable.

    ``kept`` says whether it exists all the same: it then runs, unless Redis fails first.
    """

    def __init__(self, job_id: str, reason: str, *, kept: bool = False) -> None:
        fate = f"job {job_id} is kept, but" if kept else "the job was not accepted:"
        super().__init__(f"{fate} {reason}")
        self.job_id = job_id
        self.kept = kept


class StoreFull(TransientStoreError):
    """The store's memory is past its high-water mark; running jobs continue."""


class StoreEvicts(TransientStoreError):
    """The store deletes jobs when it is full."""

    def __init__(self, policy: str) -> None:
        super().__init__(
            f"Redis may delete jobs: its maxmemory-policy is {policy}; set it to noeviction, or "
            "SFUMATO_REDIS_EVICTION=warn"
        )


class DurabilityUnsupported(JobsError):
    """This store cannot confirm durable writes."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"durable=strict is not supported here: {reason}")


class StaleFence(JobsError):
    """The writer no longer holds this job."""

    def __init__(self, job_id: str) -> None:
        super().__init__(f"job {job_id} is no longer held by this claim")
        self.job_id = job_id


class NewerSchema(JobsError):
    """A newer version of Sfumato wrote this record."""

    def __init__(self, job_id: str, version: int, known: int) -> None:
        super().__init__(
            f"job {job_id} has schema version {version}; this version of Sfumato reads {known}"
        )
        self.job_id = job_id


class UnreadableRecord(JobsError):
    """A stored record is damaged."""

    def __init__(self, job_id: str, field: str) -> None:
        super().__init__(f"job {job_id} cannot be read: its stored field {field!r} is damaged")
        self.job_id = job_id


class ResultExpired(JobsError):
    """The image has expired."""


class InvalidCursor(JobsError):
    """The cursor or event id is malformed."""


class StoreUnavailable(TransientStoreError):
    """The store does not answer."""
