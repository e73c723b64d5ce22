"""Rate limits, counted in Redis for all doors together and reported in the RateLimit headers.

The headers are those of the IETF draft "RateLimit header fields for HTTP" (httpapi, 10).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import structlog
from fastapi import Request
from redis.asyncio import Redis

from jobs.errors import TransientStoreError
from jobs.redis.connection import ask, connect, disconnect
from jobs.settings import JobsSettings
from service.auth.door_keys import door_key
from service.http.problem import Refusal

log = structlog.get_logger()


@dataclass(frozen=True)
class Bucket:
    """A token bucket: the requests that its holder may make in a window."""

    policy: str  # its name in the headers: "key", "tenant", "client", "link"
    holder: str
    requests: int
    window_s: float


@dataclass(frozen=True)
class Level:
    """How full a bucket is."""

    left: int
    full_s: float  # seconds until it is full again
    wait_s: float  # seconds until it holds one request


class RateLimiter:
    """Takes a request from every one of several buckets, or from none."""

    def __init__(self, settings: JobsSettings) -> None:
        self._redis = connect(settings)
        self._settings = settings
        script = (files("service.auth") / "rate_limit.lua").read_text()
        self._script = self._redis.register_script(script)

    @property
    def redis(self) -> Redis:
        """The connections, for other counters of the door."""
        return self._redis

    async def take(self, buckets: Sequence[Bucket]) -> tuple[bool, tuple[Level, ...]]:
        """Return whether every bucket held a request, and how full they are now.

        Raises:
            TransientStoreError: Redis is unavailable.
        """
        keys = [door_key(self._settings, "rate", b.policy, b.holder) for b in buckets]
        numbers = [word for b in buckets for word in (b.requests, b.window_s)]
        call: Any = self._script(keys=keys, args=numbers)
        taken, *found = await ask(call)
        triples = zip(found[::3], found[1::3], found[2::3], strict=True)
        levels = tuple(Level(left, full / 1000, wait / 1000) for left, full, wait in triples)
        return bool(taken), levels

    async def close(self) -> None:
        """Release connections."""
        await disconnect(self._redis, "the rate limiter")


async def meter(limiter: RateLimiter, request: Request, buckets: Sequence[Bucket]) -> None:
    """Take the request from the buckets and set the RateLimit headers of its response.

    While Redis is unavailable nothing is counted: requests that need it are refused anyway.

    Raises:
        Refusal: 429, a bucket is empty.
    """
    buckets = [bucket for bucket in buckets if bucket.requests > 0]
    if not buckets:
        return
    try:
        taken, levels = await limiter.take(buckets)
    except TransientStoreError as error:
        log.warning("requests not counted", reason=str(error))
        return
    request.state.response_headers = rate_headers(buckets, levels)
    if not taken:
        wait_s = max(1, math.ceil(max(level.wait_s for level in levels)))
        detail = f"too many requests; try again in {wait_s} s"
        raise Refusal(429, "rate_limited", detail, retry_after_s=wait_s)


def rate_headers(buckets: Sequence[Bucket], levels: Sequence[Level]) -> dict[str, str]:
    """Return the RateLimit and RateLimit-Policy headers."""
    policies = [f'"{b.policy}";q={b.requests};w={math.ceil(b.window_s)}' for b in buckets]
    states = [
        f'"{b.policy}";r={level.left};t={math.ceil(level.full_s)}'
        for b, level in zip(buckets, levels, strict=True)
    ]
    return {"ratelimit-policy": ", ".join(policies), "ratelimit": ", ".join(states)}
