"""What Redis' refusals mean for the store."""

from redis.exceptions import (
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from jobs.errors import StoreFull, StoreTrouble, StoreUnavailable

PASSING = ("BUSY ", "LOADING", "CLUSTERDOWN", "TRYAGAIN")
"""A script that takes too long, a server that reads its files, a cluster that settles."""
NO_WRITES = ("MISCONF", "NOREPLICAS", "READONLY", "MASTERDOWN")
"""A full disk, too few replicas, a replica that was asked to write, a replica without a master."""


def trouble(error: RedisError | OSError) -> StoreTrouble | None:
    """Return what may pass by itself, None where the command itself is wrong."""
    if isinstance(error, OutOfMemoryError):
        return StoreFull("Redis is out of memory")
    if isinstance(error, ReadOnlyError | MasterDownError):
        return StoreUnavailable(f"Redis takes no writes: {error}")
    if isinstance(error, ResponseError):
        if str(error).startswith(PASSING):
            return StoreUnavailable(f"Redis does not answer yet: {error}")
        refused = any(word in str(error) for word in NO_WRITES)
        return StoreUnavailable(f"Redis takes no writes: {error}") if refused else None
    return StoreUnavailable(f"Redis does not answer: {error}")
