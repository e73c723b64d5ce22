"""Text of users, shown as it was written and without power over the terminal."""

import re

_ACTIVE = re.compile(
    "[\x00-\x1f\x7f-\x9f"  # controls, with the escape that begins a terminal's commands
    "\u2028\u2029"  # line and paragraph separators
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the reading direction
    "\ufeff\ud800-\udfff]"  # a byte order mark, halves of a pair
)


def shown(text: object) -> str:
    """Return the text with its control characters as escapes like ``\\x1b``."""
    return _ACTIVE.sub(lambda match: repr(match[0])[1:-1].replace("\ufeff", "\\ufeff"), str(text))
