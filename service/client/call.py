"""One request to a door, and how its response is parsed."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

import httpx

from .connection import shown
from .errors import ConnectionFailed, InvalidArgument, UnexpectedResponse, problem_error

T = TypeVar("T")


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request; ``read`` parses the response's body into the caller's result."""

    method: str
    path: str
    read: Callable[[bytes], T]
    options: Mapping[str, Any] = field(default_factory=dict)  # of httpx: json, params, headers

    def request(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """Return the request. Raises: InvalidArgument, a value that JSON cannot represent."""
        try:
            return http.build_request(self.method, self.path, **self.options)
        except (TypeError, ValueError) as error:  # NaN, half a surrogate pair, an object
            raise InvalidArgument(f"the request cannot be sent: {error}") from error

    def result(self, response: httpx.Response) -> T:
        """Return the result in a response. Raises: ProblemError, UnexpectedResponse."""
        check(response)
        with understood(response):
            return self.read(response.content)


def check(response: httpx.Response) -> None:
    """Check that a response is a success. Raises: ProblemError, UnexpectedResponse."""
    if response.is_error:
        raise problem_error(response)
    if not response.is_success:
        raise _unexpected(response)


@contextlib.contextmanager
def understood(response: httpx.Response) -> Iterator[None]:
    """Turn parsing errors into a refusal of the response. Raises: UnexpectedResponse."""
    try:
        yield
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise _unexpected(response) from error


@contextlib.contextmanager
def reached(request: httpx.Request) -> Iterator[None]:
    """Turn HTTPX's errors into one that names the door. Raises: ConnectionFailed."""
    try:
        yield
    except httpx.HTTPError as error:
        where = shown(request.url.copy_with(raw_path=b"/"))
        raise ConnectionFailed(f"{where}: {why(error)}") from error


def why(error: Exception) -> str:
    """Return an error in words."""
    return str(error) or type(error).__name__


def _unexpected(response: httpx.Response) -> UnexpectedResponse:
    return UnexpectedResponse(f"the server at {shown(response.request.url)} is not Sfumato")
