"""Secrets that were replaced and stay valid for a while: those of API keys and of webhooks."""

from collections.abc import Sequence

Retired = tuple[str, float]
"""A secret or its hash, and the Unix time until which it is valid."""
MOST = 8
"""Retired secrets that are kept, the newest."""


def retire(
    secret: str, earlier: Sequence[Retired], overlap_s: float, now: float
) -> tuple[Retired, ...]:
    """Return the retired secrets, newest first, once ``secret`` is replaced too.

    All stay valid for at most ``overlap_s`` from now, earlier ones for no longer than they would
    have: two rotations at once lose neither secret, and a rotation without an overlap ends all.
    """
    until = now + overlap_s
    kept = ((old, min(end, until)) for old, end in earlier if end > now)
    return ((secret, until), *kept)[:MOST]


def valid(retired: Sequence[Retired], now: float) -> tuple[str, ...]:
    """Return those that are still valid."""
    return tuple(secret for secret, until in retired if now < until)
