"""Lengths of time as people write them on a command line: ``90d``, ``12h``, ``30m``, ``45s``."""

import re

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def seconds(text: str) -> float:
    """Return the length in seconds. Raises: ValueError."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text)
    if match is None:
        raise ValueError(f"{text!r} is not a length of time, like 90d, 12h, 30m or 45s")
    return int(match[1]) * _SECONDS[match[2]]
