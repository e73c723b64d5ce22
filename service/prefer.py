"""The ``Prefer: wait=N`` header (RFC 7240)."""

import re

_WAIT = re.compile(r'\s*wait\s*=\s*"?(\d{1,6})"?\s*(?:;.*)?', re.IGNORECASE)


def wait_s(header: str | None) -> int | None:
    """Return the seconds that a client is willing to wait; None when it does not say.

    A preference that cannot be read is ignored, as the RFC asks.
    """
    for preference in (header or "").split(","):
        match = _WAIT.fullmatch(preference)
        if match:
            return int(match.group(1))
    return None
