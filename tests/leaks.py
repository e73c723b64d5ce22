"""A check around every test: no thread, child process, socket or event loop outlives it.

What fixtures of a wider scope hold is there before the test begins, and does not count.
"""

import gc
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from time import monotonic, sleep

import pytest

GRACE_S = 60.0
"""The longest wait for something that is ending."""
FILES = Path("/proc/self/fd")
TASKS = Path("/proc/self/task")
SHARED = ("multiprocessing.forkserver", "multiprocessing.resource_tracker")
"""Children that the first test to fork starts for all others, by their command lines."""
Look = Callable[[], Mapping[object, str]]
TQDM = "tqdm_monitor"
"""The thread that tqdm starts with its first progress bar, for all others."""


def threads() -> dict[object, str]:
    """Return the living threads, each with a description."""
    found = threading.enumerate()
    return {each: f"thread {each.name}" for each in found if each.name != TQDM}


def children() -> dict[object, str]:
    """Return the child processes."""
    pids = [pid for task in TASKS.iterdir() for pid in _read(task / "children").split()]
    lines = {pid: _read(Path("/proc") / pid / "cmdline").replace("\0", " ") for pid in pids}
    return {
        pid: f"process {pid}: {line[:100]}"
        for pid, line in lines.items()
        if not any(name in line for name in SHARED)
    }


def sockets() -> dict[object, str]:
    """Return the open sockets: every event loop has two of them."""
    found: dict[object, str] = {}
    for name in os.listdir(FILES):
        with suppress(OSError):  # the folder's own, by now closed
            target = os.readlink(FILES / name)
            if target.startswith("socket:"):
                found[target] = f"{target} as file {name}"
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def new(look: Look, before: Mapping[object, str], deadline: float) -> list[str]:
    """Return what was not there before, once there is none of it or the time is over."""
    while True:
        found = [words for key, words in look().items() if key not in before]
        if not found or monotonic() > deadline:
            return found
        sleep(0.02)


@contextmanager
def watched(grace_s: float = GRACE_S) -> Iterator[None]:
    """Raise an AssertionError where something outlives the block."""
    before = {look: look() for look in (threads, children, sockets)}
    yield
    deadline = monotonic() + grace_s
    outlived = [words for look, there in before.items() for words in new(look, there, deadline)]
    if outlived:
        gc.collect()  # what is still to be said about it is said of this test
    assert not outlived, f"left open: {', '.join(outlived)}"


@pytest.fixture(autouse=True)
def nothing_is_left_open() -> Iterator[None]:
    """Fail a test that something outlives."""
    with watched():
        yield
