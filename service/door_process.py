"""What both kinds of door do first: parse arguments, read settings, log, allow many sockets."""

import argparse
import resource
from pathlib import Path

from jobs.errors import StartError
from jobs.host.addresses import check_free
from jobs.redis.server import check_server
from jobs.settings import read_environment
from jobs.telemetry.logs import configure
from service.settings import ServiceSettings

OPEN_FILES = 65_536
OWN_FILES = 512
"""What the door opens itself: connections to Redis and to receivers of webhooks, logs."""
LEAST_OPEN_FILES = 1024


def start(description: str) -> tuple[argparse.Namespace, ServiceSettings]:
    """Set this process up for serving; return its command line and its settings.

    Raises:
        StartError: a setting or the address is bad, too few files may be open, or Redis may lose
            jobs.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=port, default=8000)
    parser.add_argument("--data", type=Path, default=Path("door"), help="this door's own folder")
    options = parser.parse_args()
    settings = read_environment(ServiceSettings)
    can_listen(options.host, options.port)
    configure(settings.log_format, settings.log_level)
    check_file_limit(raise_file_limit())
    check_server(settings)
    return options, settings


def connections_that_fit() -> int:
    """Return how many clients' connections the limit on open files leaves room for."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    files = OPEN_FILES if soft == resource.RLIM_INFINITY else min(soft, OPEN_FILES)
    return max(files - OWN_FILES, files // 4)


def port(text: str) -> int:
    """Return a port of a command line. Raises: argparse.ArgumentTypeError."""
    if not (text.isascii() and text.isdecimal()) or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port, 0 to 65535")
    return int(text)


def can_listen(host: str, port: int) -> None:
    """Check that this process may listen there. Raises: StartError."""
    try:
        check_free(host, port)
    except OSError as error:
        raise StartError(str(error)) from error


def check_file_limit(limit: int) -> None:
    """Check that a door can serve with this limit on open files. Raises: StartError."""
    if limit != resource.RLIM_INFINITY and limit < LEAST_OPEN_FILES:
        raise StartError(
            f"this process may open {limit} files; a door needs {LEAST_OPEN_FILES}: raise the hard"
            " limit (ulimit -Hn, LimitNOFILE=, --ulimit nofile=)"
        )


def raise_file_limit() -> int:
    """Raise the number of files that this process and its children may open; return the new limit.

    A socket is a file, and a door has thousands of clients where systems allow 1024 by default.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, OPEN_FILES)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return soft
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return wanted
