"""How commands that talk to Redis directly find it, use it, and report errors."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import typer
from redis.exceptions import RedisError

from jobs.errors import JobsError, StartError, StoreUnavailable
from jobs.settings import JobsSettings, read_environment
from service.cli.shared.exit_codes import ExitCode
from service.cli.shared.terminal import print_error
from service.local.stack_secrets import REDIS_URL, read_private

T = TypeVar("T")
DataOption = Annotated[
    Path | None,
    typer.Option(
        help="The data folder of a running `sfumato up`: by default the Redis of"
        " SFUMATO_REDIS_URL, or of the folder var."
    ),
]
DEFAULT_DATA: Path | None = None
UP_DATA = Path("var")


class Closable(Protocol):
    """Something with connections to release."""

    async def close(self) -> None:
        """Release connections."""


Store = TypeVar("Store", bound=Closable)


def store_settings(data: Path | None) -> JobsSettings:
    """Return the settings of the environment, with the Redis of the stack in a folder if given.

    Raises:
        StartError: a setting is bad, or the folder is not that of a running `sfumato up`.
    """
    settings = read_environment(JobsSettings)
    if data is None and "redis_url" in settings.model_fields_set:
        return settings
    return read_environment(JobsSettings, redis_url=_url_of_stack(data or UP_DATA))


def _url_of_stack(data: Path) -> str:
    try:
        if (url := read_private(data / REDIS_URL)) is not None:
            return url
        reason = "no `sfumato up` is running"
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
    raise StartError(f"no Redis known in {data}: {reason}; set --data or SFUMATO_REDIS_URL")


def in_store(
    kind: Callable[[JobsSettings], Store], data: Path | None, act: Callable[[Store], Awaitable[T]]
) -> T:
    """Open a store, act on it and close it; an error ends the command with one line."""

    settings = store_settings(data)

    async def run() -> T:
        store = kind(settings)
        try:
            return await act(store)
        finally:
            await store.close()

    return run_or_complain(run())


def run_or_complain(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of the work; an error ends the command with one line."""
    try:
        return asyncio.run(work)
    except StoreUnavailable as error:
        print_error(str(error))
        raise typer.Exit(ExitCode.UNREACHABLE) from error
    except JobsError as error:
        print_error(str(error))
        raise typer.Exit(ExitCode.FAILED) from error
    except (RedisError, OSError) as error:  # a password, a certificate, or no Redis at all
        print_error(f"Redis cannot be used: {error}")
        raise typer.Exit(ExitCode.UNREACHABLE) from error
