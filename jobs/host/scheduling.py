"""The calling thread in the kernel's scheduler."""

import os
from contextlib import suppress
from pathlib import Path

SCHEDSTAT = Path("/proc/thread-self/schedstat")


def yield_to_others() -> None:
    """Have this thread, when it wakes, interrupt no other one; it waits for a free processor.

    Threads that it starts do the same. Without Linux, or without leave, nothing changes.
    """
    _set("SCHED_BATCH")


def compete() -> None:
    """Have this thread scheduled as usual again, whatever thread it was started by."""
    _set("SCHED_OTHER")


def _set(policy: str) -> None:
    with suppress(AttributeError, OSError):
        os.sched_setscheduler(0, getattr(os, policy), os.sched_param(0))


def waited_s(schedstat: Path = SCHEDSTAT) -> float:
    """Return how long this thread was ready to run while others had the processor; 0: unknown."""
    try:
        return int(schedstat.read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        return 0.0
