"""Connections to Redis, with TLS where the URL says ``rediss://``."""

import ssl
from collections.abc import Awaitable
from typing import Any, TypeVar

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from jobs.redis_trouble import trouble
from jobs.settings import JobsSettings

T = TypeVar("T")


def connect(settings: JobsSettings) -> "Redis":
    """Return a client with a pool of its own; it connects when it is first asked."""
    pool = BlockingConnectionPool.from_url(
        settings.redis_url,
        timeout=10,  # a burst waits for a connection
        max_connections=64,
        socket_timeout=10,
        socket_connect_timeout=3,
        retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), retries=3),
        retry_on_error=[RedisConnectionError, RedisTimeoutError],
        **tls_options(settings),
    )
    return Redis.from_pool(pool)


def tls_options(settings: JobsSettings) -> dict[str, Any]:
    """Return redis-py's arguments for TLS; none where the URL does not ask for it."""
    if not settings.redis_url.startswith("rediss://"):
        return {}
    return {"ssl_cert_reqs": "required", "ssl_check_hostname": True} | _files(settings)


def broker_tls(settings: JobsSettings) -> dict[str, Any] | None:
    """Return Celery's ``broker_use_ssl``, None where the URL does not ask for TLS."""
    if not settings.redis_url.startswith("rediss://"):
        return None
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True} | _files(settings)


def _files(settings: JobsSettings) -> dict[str, str]:
    given = {
        "ssl_ca_certs": settings.redis_ca_file,
        "ssl_certfile": settings.redis_cert_file,
        "ssl_keyfile": settings.redis_key_file,
    }
    return {name: str(path) for name, path in given.items() if path is not None}


async def ask(call: Awaitable[T]) -> T:
    """Return Redis' answer.

    Raises:
        StoreTrouble: Redis does not answer, or takes no more.
    """
    try:
        return await call
    except (RedisError, OSError) as error:
        if (meaning := trouble(error)) is None:
            raise
        raise meaning from error
