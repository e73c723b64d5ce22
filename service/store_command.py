"""How a command that talks to Redis itself finds it, and how it ends where that fails."""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from jobs.errors import JobsError
from jobs.settings import JobsSettings, read_environment
from service.stack_secrets import REDIS_URL, read_private
from service.terminal import complain

T = TypeVar("T")
DataOption = Annotated[Path, typer.Option(help="The folder of a running `sfumato up`.")]
DEFAULT_DATA = Path("var")


def store_settings(data: Path) -> JobsSettings:
    """Return where the store is: the environment's word, else that of the stack in ``data``."""
    settings = read_environment(JobsSettings)
    running = read_private(data / REDIS_URL)
    if running is not None and "redis_url" not in settings.model_fields_set:
        return settings.model_copy(update={"redis_url": running})
    return settings


def run_or_complain(work: Coroutine[Any, Any, T]) -> T:
    """Return what the work returns; an error ends the command with one line."""
    try:
        return asyncio.run(work)
    except JobsError as error:
        complain(str(error))
        raise typer.Exit(1) from error
