"""Which characters the terminal can show."""

import sys
from io import TextIOWrapper


def escape_what_streams_lack() -> None:
    """Let standard output and error escape characters that their encoding lacks, not fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def is_unicode(encoding: str | None) -> bool:
    """Return whether a stream of this encoding can show every character."""
    return (encoding or "").lower().replace("-", "").replace("_", "").startswith(("utf", "u8"))
