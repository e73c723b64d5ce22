"""What a client can run into, read off the problem that the door answered.

ClientError
├── ConnectionFailed      nobody answers at this address
├── StreamLost            an event stream broke and could not be taken up again
└── ProblemError          the door said no; ``problem`` says why
    ├── InvalidRequest    400, 413, 415, 422: the request has to change
    ├── Unauthorized      401: no API key, or one that is not good
    ├── Forbidden         403: the API key lacks the right
    ├── NotFound          404
    ├── Gone              410: the picture is past its time to live
    ├── TooBusy           429: come back after ``retry_after_s``
    └── ServiceUnavailable  5xx
"""

import httpx
from pydantic import ValidationError

from service.representations import Problem


class ClientError(Exception):
    """Something went wrong between client and door."""


class ConnectionFailed(ClientError):
    """Nobody answers at this address."""


class StreamLost(ClientError):
    """An event stream broke and could not be taken up again."""


class ProblemError(ClientError):
    """The door said no."""

    def __init__(self, problem: Problem, retry_after_s: float | None) -> None:
        super().__init__(problem.detail)
        self.problem = problem
        self.retry_after_s = retry_after_s


class InvalidRequest(ProblemError):
    """The request has to change before it can be served."""


class Unauthorized(ProblemError):
    """There is no API key, or it is not good."""


class Forbidden(ProblemError):
    """The API key lacks the right for this."""


class NotFound(ProblemError):
    """There is no such job or picture."""


class Gone(ProblemError):
    """The picture is past its time to live."""


class TooBusy(ProblemError):
    """Too much work waits already."""


class ServiceUnavailable(ProblemError):
    """The service cannot answer now."""


_KINDS: dict[int, type[ProblemError]] = {
    400: InvalidRequest,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    410: Gone,
    413: InvalidRequest,
    415: InvalidRequest,
    422: InvalidRequest,
    429: TooBusy,
}


def problem_error(answer: httpx.Response) -> ProblemError:
    """Return the error of an answer that tells of a problem, or that is none of the door's own."""
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
        )
    wait = answer.headers.get("retry-after", "")
    kind = _KINDS.get(status, ServiceUnavailable if status >= 500 else ProblemError)
    return kind(problem, float(wait) if wait.isdecimal() else None)
