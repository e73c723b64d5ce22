"""A check around every test: no thread, child process, socket or event loop outlives it.

What fixtures of a wider scope hold is there before a test begins, and is its own affair.
"""

import gc
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import pytest

GRACE_S = 5.0
"""What was told to end may take this long."""
FILES = Path("/proc/self/fd")
TASKS = Path("/proc/self/task")
SHARED = ("multiprocessing.forkserver", "multiprocessing.resource_tracker")
"""Children that the first test to fork starts for all others, by their command lines."""
TQDM = "tqdm_monitor"
"""The thread that tqdm starts with its first progress bar, for all others."""


def threads() -> set[str]:
    """Return the living threads."""
    found = threading.enumerate()
    return {f"thread {each.name} ({each.ident})" for each in found if each.name != TQDM}


def children() -> set[str]:
    """Return the child processes."""
    found = set()
    for task in TASKS.iterdir():
        for pid in _read(task / "children").split():
            command = _read(Path("/proc") / pid / "cmdline").replace("\0", " ")
            if not any(name in command for name in SHARED):
                found.add(f"process {pid}: {command[:100]}")
    return found


def sockets() -> set[str]:
    """Return the open sockets: every event loop has two of them."""
    found = set()
    for name in os.listdir(FILES):
        try:
            target = os.readlink(FILES / name)
        except OSError:  # the folder's own, by now closed
            continue
        if target.startswith("socket:"):
            found.add(f"{target} as file {name}")
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def left(look: Callable[[], set[str]], before: set[str], deadline: float) -> set[str]:
    """Return what was not there before, once there is none of it or the time is over."""
    while (found := look() - before) and monotonic() < deadline:
        sleep(0.02)
    return found


@contextmanager
def watched() -> Iterator[None]:
    """Raise an AssertionError where something outlives the block."""
    looks = (threads, children, sockets)
    before = [look() for look in looks]
    yield
    deadline = monotonic() + GRACE_S
    found = [left(look, there, deadline) for look, there in zip(looks, before, strict=True)]
    outlived = sorted(set().union(*found))
    if outlived:
        gc.collect()  # what is still to be said about it is said of this test
    assert not outlived, f"left open: {', '.join(outlived)}"


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    """Fail a test that something outlives."""
    with watched():
        yield
