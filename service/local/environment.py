"""What `sfumato up` checks before it starts anything: settings, and the Redis that it is given."""

import contextlib
import os
from typing import Any, Protocol

from redis.exceptions import RedisError

from jobs.errors import StartError
from jobs.redis.connection import connect_blocking
from jobs.settings import JobsSettings, read_environment
from service.local.errors import StackError
from service.local.stack_secrets import keys_wanted
from service.ray_serve.worker_settings import RayWorkerSettings
from service.settings import LEAST_SECRET_CHARS, ServiceSettings


class Options(Protocol):
    """Those of the stack's options that decide what is read."""

    @property
    def autoscale(self) -> int:
        """How many workers Ray may start; 0: it starts none."""


def given_redis() -> str | None:
    """Return the URL of a Redis that the environment names, None if it names none."""
    return os.environ.get("SFUMATO_REDIS_URL") or os.environ.get("REDIS_URL") or None


def check_environment(options: Options) -> None:
    """Check the door's settings and those of autoscaled workers, and that a given Redis answers.

    Workers check their own when they start. Raises: StackError.
    """
    url, changes = given_redis(), dict[str, Any]()
    if url is not None:
        changes["redis_url"] = url
    try:
        settings = read_environment(JobsSettings, **changes)
        if options.autoscale:
            read_environment(RayWorkerSettings, **changes | {"ray_max_workers": options.autoscale})
        if keys_wanted() and not os.environ.get("SFUMATO_URL_SECRETS"):
            changes["url_secrets"] = "-" * LEAST_SECRET_CHARS  # the stack makes one
        read_environment(ServiceSettings, **changes)
    except StartError as error:
        raise StackError(str(error)) from error
    if url is not None:
        check_redis(settings)


def check_redis(settings: JobsSettings) -> None:
    """Check that Redis answers. Raises: StackError."""
    try:
        with contextlib.closing(connect_blocking(settings)) as redis:
            redis.ping()
    except (RedisError, OSError, TypeError, ValueError) as error:
        name = "SFUMATO_REDIS_URL" if os.environ.get("SFUMATO_REDIS_URL") else "REDIS_URL"
        raise StackError(f"the Redis of {name} cannot be used: {error}") from error
