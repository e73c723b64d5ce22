"""The exit codes of all commands; docs/apis/cli.md has the same table."""

from enum import IntEnum

from service.client.errors import (
    ClientError,
    ConnectionFailed,
    InvalidArgument,
    ProblemError,
    ServiceUnavailable,
    StreamLost,
    UnexpectedResponse,
)

_UNREACHABLE = (ConnectionFailed, ServiceUnavailable, StreamLost, UnexpectedResponse)


class ExitCode(IntEnum):
    """How a command ended."""

    DONE = 0
    FAILED = 1  # a job did not succeed, or the command failed
    USAGE = 2  # an argument or option is invalid; nothing was done
    UNREACHABLE = 3  # the service, or its Redis, cannot be reached or is not ready
    REFUSED = 4  # the service refused the request
    INTERRUPTED = 130  # Ctrl-C


LEGEND = "Exit codes: " + ", ".join(f"{code.value} {code.name.lower()}" for code in ExitCode) + "."
"""For ``sfumato --help``."""


def exit_code(error: ClientError) -> ExitCode:
    """Return the exit code of a command that ends with this error."""
    if isinstance(error, InvalidArgument):
        return ExitCode.USAGE
    if isinstance(error, _UNREACHABLE):
        return ExitCode.UNREACHABLE
    return ExitCode.REFUSED if isinstance(error, ProblemError) else ExitCode.FAILED
