"""What `sfumato up` checks before it starts anything: settings, and the Redis that it is given."""

import contextlib
import os
from pathlib import Path
from typing import Any, Protocol

from redis.exceptions import RedisError

from jobs.errors import StartError
from jobs.host.models import INCLUDED, ModelsSettings, find_model, is_name, served_name
from jobs.redis.connection import connect_blocking
from jobs.settings import JobsSettings, read_environment
from jobs.telemetry.text import shown
from service.local.errors import StackError
from service.local.stack_secrets import keys_wanted
from service.ray_serve.worker_settings import RayWorkerSettings
from service.settings import LEAST_SECRET_CHARS, ServiceSettings


class Options(Protocol):
    """Those of the stack's options that decide what is read."""

    @property
    def autoscale(self) -> int:
        """How many workers Ray may start; 0: it starts none."""

    @property
    def model(self) -> Path | None:
        """The workers' model, None for the environment's."""


def given_redis() -> str | None:
    """Return the URL of a Redis that the environment names, None if it names none."""
    return os.environ.get("SFUMATO_REDIS_URL") or os.environ.get("REDIS_URL") or None


def check_environment(options: Options) -> dict[str, str]:
    """Check the door's settings and those of autoscaled workers, and that a given Redis answers.

    Return the variables of the chosen model. Workers check their own settings when they start.
    Raises: StackError.
    """
    url, changes = given_redis(), dict[str, Any]()
    chosen = {} if options.model is None else model_variables(options.model)
    if url is not None:
        changes["redis_url"] = url
    try:
        settings = read_environment(JobsSettings, **changes)
        if options.autoscale:
            given = {name.removeprefix("SFUMATO_").lower(): value for name, value in chosen.items()}
            given.pop("default_model", None)
            ray = {"ray_max_workers": options.autoscale}
            read_environment(RayWorkerSettings, **changes | given | ray)
        if keys_wanted() and not os.environ.get("SFUMATO_URL_SECRETS"):
            changes["url_secrets"] = "-" * LEAST_SECRET_CHARS  # the stack makes one
        read_environment(ServiceSettings, **changes)
    except StartError as error:
        raise StackError(str(error)) from error
    if url is not None:
        check_redis(settings)
    return chosen


def model_variables(model: Path) -> dict[str, str]:
    """Return the variables for workers of a model, and for a door whose default it is.

    ``model`` is a folder, or the name of the included or of an installed model. Raises: StackError.
    """
    try:
        folder = find_model(model, read_environment(ModelsSettings).models, Path(INCLUDED))
    except ValueError as error:
        raise StackError(f"--model: {error}") from error
    if not folder.is_dir() and str(model) != INCLUDED:
        raise StackError(f"--model: {shown(model)} is not a directory")
    name = os.environ.get("SFUMATO_MODEL_NAME") or served_name(folder)
    if not is_name(name):
        raise StackError(f"--model: {shown(name)} cannot be its name; set SFUMATO_MODEL_NAME")
    default = os.environ.get("SFUMATO_DEFAULT_MODEL") or name
    return {
        "SFUMATO_MODEL": str(model),
        "SFUMATO_MODEL_NAME": name,
        "SFUMATO_DEFAULT_MODEL": default,
    }


def check_redis(settings: JobsSettings) -> None:
    """Check that Redis answers. Raises: StackError."""
    try:
        with contextlib.closing(connect_blocking(settings)) as redis:
            redis.ping()
    except (RedisError, OSError, TypeError, ValueError) as error:
        name = "SFUMATO_REDIS_URL" if os.environ.get("SFUMATO_REDIS_URL") else "REDIS_URL"
        raise StackError(f"the Redis of {name} cannot be used: {error}") from error
