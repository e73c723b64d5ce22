"""Requests a window: counted in Redis for all doors at once, told in the RateLimit headers.

The headers are those of the IETF draft "RateLimit header fields for HTTP" (httpapi, 10).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import structlog
from fastapi import Request

from jobs.connection import ask, connect, disconnect
from jobs.errors import StoreTrouble
from jobs.settings import JobsSettings
from service.door_keys import door_key
from service.problem import Refusal

log = structlog.get_logger()


@dataclass(frozen=True)
class Bucket:
    """A number of requests that somebody has in a window."""

    policy: str  # as the headers name it: "key", "tenant", "client", "link"
    holder: str
    requests: int
    window_s: float


@dataclass(frozen=True)
class Level:
    """How full a bucket is."""

    left: int
    full_s: float  # until it is full again
    wait_s: float  # until it holds one request


class RateLimiter:
    """Takes requests from buckets, from all that are named or from none."""

    def __init__(self, settings: JobsSettings) -> None:
        self._redis = connect(settings)
        self._settings = settings
        script = (files("service") / "lua" / "rate_limit.lua").read_text()
        self._script = self._redis.register_script(script)

    async def take(self, buckets: Sequence[Bucket]) -> tuple[bool, tuple[Level, ...]]:
        """Return whether there was one request in every bucket, and how full they are now.

        Raises:
            StoreTrouble: Redis does not answer.
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
    """Take the request from the buckets and put the RateLimit headers on its answer.

    Where Redis is away nothing is counted: what needs Redis is refused on its own account.

    Raises:
        Refusal: 429, a bucket is empty.
    """
    buckets = [bucket for bucket in buckets if bucket.requests > 0]
    if not buckets:
        return
    try:
        taken, levels = await limiter.take(buckets)
    except StoreTrouble as error:
        log.warning("requests not counted", reason=str(error))
        return
    headers = rate_headers(buckets, levels)
    request.state.answer_headers = headers
    if not taken:
        wait = max(level.wait_s for level in levels)
        seconds = str(max(1, math.ceil(wait)))
        detail = f"too many requests; try again in {seconds} s"
        raise Refusal(429, "rate_limited", detail, headers={"retry-after": seconds})


def rate_headers(buckets: Sequence[Bucket], levels: Sequence[Level]) -> dict[str, str]:
    """Return the RateLimit and RateLimit-Policy headers."""
    policies = [f'"{b.policy}";q={b.requests};w={math.ceil(b.window_s)}' for b in buckets]
    states = [
        f'"{b.policy}";r={level.left};t={math.ceil(level.full_s)}'
        for b, level in zip(buckets, levels, strict=True)
    ]
    return {"ratelimit-policy": ", ".join(policies), "ratelimit": ", ".join(states)}
