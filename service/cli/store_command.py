"""How commands that talk to Redis directly find it, use it, and report errors."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import typer

from jobs.errors import JobsError
from jobs.settings import JobsSettings, read_environment
from service.cli.terminal import print_error
from service.local.stack_secrets import REDIS_URL, read_private

T = TypeVar("T")
DataOption = Annotated[Path, typer.Option(help="The data folder of a running `sfumato up`.")]
DEFAULT_DATA = Path("var")


class Closable(Protocol):
    """Something with connections to release."""

    async def close(self) -> None:
        """Release connections."""


Store = TypeVar("Store", bound=Closable)


def store_settings(data: Path) -> JobsSettings:
    """Return the settings of the environment, or of the stack in ``data`` if no Redis is set."""
    settings = read_environment(JobsSettings)
    running = read_private(data / REDIS_URL)
    if running is not None and "redis_url" not in settings.model_fields_set:
        return settings.model_copy(update={"redis_url": running})
    return settings


def in_store(
    kind: Callable[[JobsSettings], Store], data: Path, act: Callable[[Store], Awaitable[T]]
) -> T:
    """Open a store, act on it and close it; an error ends the command with one line."""

    async def run() -> T:
        store = kind(store_settings(data))
        try:
            return await act(store)
        finally:
            await store.close()

    return run_or_complain(run())


def run_or_complain(work: Coroutine[Any, Any, T]) -> T:
    """Return the result of the work; an error ends the command with one line."""
    try:
        return asyncio.run(work)
    except JobsError as error:
        print_error(str(error))
        raise typer.Exit(1) from error
