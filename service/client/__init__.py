"""The Python client of a Sfumato service, also distributed by itself as ``sfumato-client``."""

from .async_client import AsyncJob, AsyncSfumato
from .client import Job, Sfumato
from .errors import (
    ClientError,
    Conflict,
    ConnectionFailed,
    Forbidden,
    Gone,
    InvalidArgument,
    InvalidRequest,
    JobFailed,
    NotFound,
    ProblemError,
    ServiceUnavailable,
    StreamLost,
    TooBusy,
    Unauthorized,
    UnexpectedResponse,
    WaitTimeout,
)
from .events import JobEvent, PreviewEvent, ProgressEvent, ResultEvent, StatusEvent
from .images import Image, Result
from .views import JobStatus, JobView

__all__ = [
    "AsyncJob", "AsyncSfumato", "ClientError", "Conflict", "ConnectionFailed", "Forbidden", "Gone",
    "Image", "InvalidArgument", "InvalidRequest", "Job", "JobEvent", "JobFailed", "JobStatus",
    "JobView", "NotFound", "PreviewEvent", "ProblemError", "ProgressEvent", "Result", "ResultEvent",
    "ServiceUnavailable", "Sfumato", "StatusEvent", "StreamLost", "TooBusy", "Unauthorized",
    "UnexpectedResponse", "WaitTimeout",
]  # fmt: skip
