"""A small process around one part of the stack: nothing that the part starts outlives it.

The keeper adopts orphaned descendants (it is their *subreaper*), passes SIGTERM on, and when the
part ends or does not end in time, kills whatever is left of it. It dies with the supervisor, and
the part dies with the keeper. Standard library only, so that it starts in milliseconds:
``python -I keeper.py SUPERVISOR_PID GRACE_S COMMAND…``
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36


def die_with_parent(signum: int) -> None:
    """Have the kernel send ``signum`` to this process when its parent dies."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signum)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1)


def children() -> list[int]:
    """Return this process' direct children, adopted ones included."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found


def reap(part: int) -> int | None:
    """Collect the dead; return the part's exit code once it is among them."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == part:
                code = os.waitstatus_to_exitcode(status)
    return code


def sweep_away(part: int) -> None:
    """Kill every descendant; each death hands us its children."""
    deadline = time.monotonic() + 5
    while (left := children()) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
        reap(part)


def keep(supervisor: int, grace_s: float, command: list[str]) -> int:
    """Run the command; return its exit code once all of its processes have ended."""
    stopping_at: list[float] = []
    die_with_parent(signal.SIGTERM)
    if os.getppid() != supervisor:
        return 1
    adopt_orphans()
    part = subprocess.Popen(
        command, start_new_session=True, preexec_fn=lambda: die_with_parent(signal.SIGKILL)
    )

    def stop(_signum: int, _frame: FrameType | None) -> None:
        if not stopping_at:
            stopping_at.append(time.monotonic())
            with contextlib.suppress(ProcessLookupError):
                os.kill(part.pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the supervisor decides what Ctrl-C means
    code = None
    while code is None:
        if stopping_at and time.monotonic() - stopping_at[0] > grace_s:
            break
        time.sleep(0.05)
        code = reap(part.pid)
    sweep_away(part.pid)
    return 128 + signal.SIGKILL if code is None else code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(keep(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
