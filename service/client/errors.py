"""The client's errors.

ClientError
├── InvalidArgument       an address, a key or a value is invalid; nothing was sent
├── UnexpectedResponse    the address is not that of a door
├── ConnectionFailed      the door cannot be reached
├── StreamLost            an event stream could not be resumed
├── WaitTimeout           a job has not ended in time; it continues
├── JobFailed             a job failed, was canceled or expired; ``job`` says why
└── ProblemError          the door refused the request; ``code`` and ``detail`` say why
    ├── InvalidRequest    400, 413, 415, 422: the request must be changed
    ├── Unauthorized      401: the API key is missing or invalid
    ├── Forbidden         403: the API key lacks a scope
    ├── NotFound          404
    ├── Conflict          409: the job's state does not allow the request
    ├── Gone              410: the image has expired
    ├── TooBusy           429: retry after ``retry_after_s``
    └── ServiceUnavailable  5xx
"""

import httpx
from pydantic import ValidationError

from .views import FieldProblem, JobView, Problem


class ClientError(Exception):
    """A request could not be completed."""


class InvalidArgument(ClientError, ValueError):
    """An argument is invalid; nothing was sent."""


class UnexpectedResponse(ClientError):
    """The response is not from a door."""


class ConnectionFailed(ClientError):
    """The door cannot be reached."""


class StreamLost(ClientError):
    """An event stream was interrupted and could not be resumed."""


class WaitTimeout(ClientError, TimeoutError):
    """A job has not ended in time; it continues."""


class JobFailed(ClientError):
    """A job ended without images: it failed, was canceled or expired."""

    def __init__(self, job: JobView) -> None:
        reason = job.error.detail if job.error else f"it is {job.status}"
        super().__init__(f"job {job.id} has no images: {reason}")
        self.job = job


class ProblemError(ClientError):
    """The door refused the request."""

    def __init__(self, problem: Problem, retry_after_s: float | None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.retry_after_s = retry_after_s

    @property
    def code(self) -> str:
        """The stable code of the problem; ``docs/errors.md`` lists them all."""
        return self.problem.code

    @property
    def detail(self) -> str:
        """The problem, in a sentence."""
        return self.problem.detail

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.problem.status

    @property
    def request_id(self) -> str | None:
        """The id of the request in the door's log."""
        return self.problem.request_id

    @property
    def fields(self) -> tuple[FieldProblem, ...]:
        """The invalid parts of the request."""
        return self.problem.errors


class InvalidRequest(ProblemError):
    """The request is invalid."""


class Unauthorized(ProblemError):
    """The API key is missing or invalid."""


class Forbidden(ProblemError):
    """The API key lacks the required scope."""


class NotFound(ProblemError):
    """No such job or image exists."""


class Conflict(ProblemError):
    """The job's state does not allow the request."""


class Gone(ProblemError):
    """The image has expired."""


class TooBusy(ProblemError):
    """Too many requests, or too much work is queued."""


class ServiceUnavailable(ProblemError):
    """The service is unavailable."""


MOST_DIGITS = 10
"""Of a ``Retry-After``: a longer one is no time to wait."""
_KINDS: dict[int, type[ProblemError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: TooBusy,
}


def problem_error(answer: httpx.Response) -> ProblemError:
    """Return the error for a response, even if it has no problem details (from a proxy)."""
    status = answer.status_code
    try:
        problem = Problem.model_validate_json(answer.content)
    except ValidationError:
        problem = Problem(
            type="about:blank",
            title=answer.reason_phrase,
            status=status,
            detail=f"{status} {answer.reason_phrase}: {answer.text[:200]}",
            code="unknown",
            request_id=answer.headers.get("x-request-id"),
        )
    wait = answer.headers.get("retry-after", "")
    kind = _KINDS.get(status, ServiceUnavailable if status >= 500 else ProblemError)
    seconds = wait.isascii() and wait.isdecimal() and len(wait) < MOST_DIGITS
    return kind(problem, float(wait) if seconds else None)
