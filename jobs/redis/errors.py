"""The store's errors for Redis' errors."""

from redis.exceptions import (
    MasterDownError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)

from jobs.errors import StoreFull, StoreUnavailable, TransientStoreError

TRANSIENT = ("BUSY ", "LOADING", "CLUSTERDOWN", "TRYAGAIN")
"""A script that runs too long, a server that loads its data, a cluster that reconfigures."""
NO_WRITES = ("MISCONF", "NOREPLICAS", "READONLY", "MASTERDOWN")
"""A full disk, too few replicas, a write sent to a replica, a replica without its master."""


def transient_error(error: RedisError | OSError) -> TransientStoreError | None:
    """Return the store's error if a retry may succeed, None if the command itself is wrong."""
    if isinstance(error, OutOfMemoryError):
        return StoreFull("Redis is out of memory")
    if isinstance(error, ReadOnlyError | MasterDownError):
        return StoreUnavailable(f"Redis takes no writes: {error}")
    if isinstance(error, NoScriptError):  # again, just after it was given the script
        return StoreUnavailable("Redis was restarted meanwhile")
    if isinstance(error, ResponseError):
        if str(error).startswith(TRANSIENT):
            return StoreUnavailable(f"Redis does not answer yet: {error}")
        refused = any(word in str(error) for word in NO_WRITES)
        return StoreUnavailable(f"Redis takes no writes: {error}") if refused else None
    return StoreUnavailable(f"Redis does not answer: {error}")
