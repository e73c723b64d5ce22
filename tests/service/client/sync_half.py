"""Writes the client's half without ``await`` from the one with it, so that there is one to edit.

``python -m tests.service.client.sync_half``; a test fails if it is out of date.
"""

import re
import subprocess
import sys
from pathlib import Path

from tests.deploy.tools import ROOT

FOLDER = ROOT / "service" / "client"
ASYNC, SYNC = FOLDER / "async_client.py", FOLDER / "client.py"
WORDS = {
    r'"""The client of a door, for asyncio; (?:.|\n)*?\n\n': '"""The client of a door; generated '
    "from ``async_client.py`` by ``tests.service.client.sync_half``.\n\n",
    r"\basync (def|for|with)\b": r"\1",
    r"\bawait ": "",
    r"\basyncio\b": "time",
    r"\bAsync(Sfumato|Job|Client|HTTPTransport|BaseTransport)\b": r"\1",
    r"\bAsyncGenerator\b": "Generator",
    r"\ba(close|closing|read|iter_bytes)\b": r"\1",
    r"\b__a(enter|exit)__": r"__\1__",
}


def sync_half() -> str:
    """Return the half without ``await``."""
    text = ASYNC.read_text()
    for pattern, word in WORDS.items():
        text = re.sub(pattern, word, text)
    ruff = Path(sys.executable).with_name("ruff")
    for options in (("check", "--fix", "--unsafe-fixes", "--quiet", "--exit-zero"), ("format",)):
        outcome = subprocess.run(
            [ruff, *options, "--stdin-filename", SYNC, "-"],
            input=text, capture_output=True, text=True, timeout=60, check=True, cwd=ROOT,
        )  # fmt: skip
        text = outcome.stdout
    return text


if __name__ == "__main__":
    SYNC.write_text(sync_half())
