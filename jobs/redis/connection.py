"""Connections to Redis, with TLS or through sentinels if the URL says so."""

import ssl
from typing import Any
from urllib.parse import urlsplit

from redis import Redis as BlockingRedis
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import ExponentialBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.sentinel import Sentinel as BlockingSentinel

from jobs.errors import JobsError
from jobs.redis.errors import transient_error
from jobs.redis_url import SentinelUrl, redis_url, sentinel_url
from jobs.settings import JobsSettings

SENTINEL_TIMEOUTS = {"socket_timeout": 3, "socket_connect_timeout": 3}


def connect(settings: JobsSettings) -> "Redis":
    """Return a client with its own pool; it connects on first use."""
    options: dict[str, Any] = {
        "timeout": 10,  # a burst waits for a connection
        "max_connections": 64,
        "socket_timeout": 10,
        "socket_connect_timeout": 3,
        "retry": Retry(ExponentialBackoff(cap=0.5, base=0.05), retries=3),
        "retry_on_error": [RedisConnectionError, RedisTimeoutError],
    }
    tls = tls_options(settings)
    if (sentinel := sentinel_url(settings.redis_url)) is not None:
        return Redis.from_pool(master_pool(sentinel, tls, **options))
    url = redis_url(settings.redis_url).client()
    return Redis.from_pool(BlockingConnectionPool.from_url(url, **options, **tls))


def connect_blocking(settings: JobsSettings) -> "BlockingRedis":
    """Return a client for threads; it connects on first use."""
    options = {"socket_timeout": 10, "socket_connect_timeout": 3}
    tls = tls_options(settings)
    if (sentinel := sentinel_url(settings.redis_url)) is not None:
        return blocking_master(sentinel, tls, **options)
    return BlockingRedis.from_url(redis_url(settings.redis_url).client(), **options, **tls)


def broker(settings: JobsSettings) -> tuple[str, dict[str, Any]]:
    """Return the URL and the transport options that Celery reaches Redis with."""
    options: dict[str, Any] = {"socket_connect_timeout": 3, "socket_timeout": 10}
    sentinel = sentinel_url(settings.redis_url)
    if sentinel is None:
        return redis_url(settings.redis_url).broker(), options
    tls = {"ssl": True} | tls_options(settings) if sentinel.tls else {}
    options |= {"master_name": sentinel.master, "sentinel_kwargs": SENTINEL_TIMEOUTS | tls}
    return sentinel.broker(), options


def _tls(settings: JobsSettings) -> bool:
    return urlsplit(settings.redis_url).scheme in ("rediss", "sentinels")


def tls_options(settings: JobsSettings) -> dict[str, Any]:
    """Return redis-py's arguments for TLS, none if the URL does not ask for it."""
    if not _tls(settings):
        return {}
    return {"ssl_cert_reqs": "required", "ssl_check_hostname": True} | _files(settings)


def broker_tls(settings: JobsSettings) -> dict[str, Any] | None:
    """Return Celery's ``broker_use_ssl``, None if the URL does not ask for TLS."""
    if not _tls(settings):
        return None
    return {"ssl_cert_reqs": ssl.CERT_REQUIRED, "ssl_check_hostname": True} | _files(settings)


def _files(settings: JobsSettings) -> dict[str, str]:
    given = {
        "ssl_ca_certs": settings.redis_ca_file,
        "ssl_certfile": settings.redis_cert_file,
        "ssl_keyfile": settings.redis_key_file,
    }
    return {name: str(path) for name, path in given.items() if path is not None}


class MasterPool(SentinelConnectionPool, BlockingConnectionPool):
    """Connections to the current master; a burst of calls waits for a free one."""

    async def disconnect(self, inuse_connections: bool = True) -> None:
        """Close the connections, including those to sentinels."""
        await super().disconnect(inuse_connections)
        for sentinel in self.sentinel_manager.sentinels:
            await sentinel.aclose()


def master_pool(url: SentinelUrl, tls: dict[str, Any], **options: Any) -> MasterPool:
    """Return a pool for the asynchronous client."""
    kind: Any = Sentinel  # its annotations are incomplete, as the pool's are
    pool: Any = MasterPool
    sentinel = kind(url.hosts, sentinel_kwargs=SENTINEL_TIMEOUTS | _switched(url, tls))
    made: MasterPool = pool(
        url.master, sentinel, db=url.db, **url.login, **_switched(url, tls), **options
    )
    return made


def blocking_master(url: SentinelUrl, tls: dict[str, Any], **options: Any) -> "BlockingRedis":
    """Return a client for threads."""
    kind: Any = BlockingSentinel
    sentinel = kind(url.hosts, sentinel_kwargs=SENTINEL_TIMEOUTS | _switched(url, tls))
    client: BlockingRedis = sentinel.master_for(
        url.master, db=url.db, **url.login, **_switched(url, tls), **options
    )
    return client


def _switched(url: SentinelUrl, tls: dict[str, Any]) -> dict[str, Any]:
    return {"ssl": True} | tls if url.tls else {}


async def ask(call: Any) -> Any:
    """Return the reply to a call; redis-py leaves its type open.

    Raises:
        TransientStoreError: Redis does not answer, or accepts no writes.
    """
    try:
        return await call
    except (RedisError, OSError) as error:
        if (store_error := transient_error(error)) is None:
            raise
        raise store_error from error


async def disconnect(redis: "Redis", what: str) -> None:
    """Close a client's connections; ``what`` names them in the error.

    Raises:
        JobsError: the connection failed while it was being closed.
    """
    try:
        await redis.aclose()
    except (RedisError, OSError) as error:
        raise JobsError(f"closing {what}: {error}") from error
