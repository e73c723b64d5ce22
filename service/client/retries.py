"""When a request is sent again: after connection errors, 429 and 503, for a limited time."""

import time
from collections.abc import Callable
from typing import TypeVar

from service.client.errors import ConnectionFailed, ServiceUnavailable, TooBusy

T = TypeVar("T")
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Before each further attempt: a door takes a while to restart."""


def pause_s(error: Exception, failures: int) -> float:
    """Return the pause after this many failures: at least the response's ``Retry-After``."""
    asked_s = getattr(error, "retry_after_s", None) or 0.0
    return max(asked_s, PAUSES_S[min(failures, len(PAUSES_S) - 1)])


def retried(send: Callable[[], T], limit_s: float) -> T:
    """Return what ``send`` returns, trying again while that fits into ``limit_s``.

    Raises:
        ClientError: that of the last attempt.
    """
    deadline, failures = time.monotonic() + limit_s, 0
    while True:
        try:
            return send()
        except (ConnectionFailed, ServiceUnavailable, TooBusy) as error:
            seconds = pause_s(error, failures)
            if time.monotonic() + seconds > deadline:
                raise
        time.sleep(seconds)
        failures += 1
