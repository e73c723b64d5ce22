"""Consoles that print paths and names as they are, in any terminal."""

import sys
from io import TextIOWrapper

from rich.console import Console


def plain_console(*, stderr: bool = False) -> Console:
    """Return a console without markup, emoji codes and highlighting."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)


def escape_what_streams_lack() -> None:
    """Let standard output and error escape characters that their encoding lacks, not fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
