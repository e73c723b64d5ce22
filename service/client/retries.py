"""When a request is retried: after connection errors, 429 and 5xx, for a limited time."""

import time

from .errors import ClientError, ConnectionFailed, ServiceUnavailable, TooBusy

PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Before each further attempt: a door takes a while to restart."""
TRANSIENT = (ConnectionFailed, ServiceUnavailable, TooBusy)


def pause_s(error: Exception, failures: int) -> float:
    """Return the pause after this many failures: at least the response's ``Retry-After``."""
    asked_s = getattr(error, "retry_after_s", None) or 0.0
    return max(asked_s, PAUSES_S[min(failures, len(PAUSES_S) - 1)])


class Retries:
    """The attempts of one call."""

    def __init__(self, limit_s: float) -> None:
        self._deadline = time.monotonic() + limit_s
        self._failures = 0

    def pause_s(self, error: ClientError) -> float:
        """Return the pause before the next attempt.

        Raises:
            ClientError: this one, if it is not transient or the time is up.
        """
        seconds = pause_s(error, self._failures)
        if not isinstance(error, TRANSIENT) or time.monotonic() + seconds > self._deadline:
            raise error
        self._failures += 1
        return seconds
