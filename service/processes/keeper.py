"""A small process around a child process, so that nothing the child starts outlives it.

The keeper adopts orphaned descendants (it is their *subreaper*), passes SIGTERM on, and kills what
is left when the child ends or exceeds its grace period. It dies with the process that started it,
and the child dies with the keeper. Standard library only, so that it starts in milliseconds:
``python -I keeper.py PARENT_PID GRACE_S COMMAND…``
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import BinaryIO

PR_SET_PDEATHSIG = 1  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36


def start(
    command: Sequence[str], env: Mapping[str, str], grace_s: float, output: BinaryIO | None = None
) -> "subprocess.Popen[bytes]":
    """Start a command under a keeper and return the keeper; ``grace_s`` is from SIGTERM to SIGKILL.

    The calling thread must live as long as the command: the kernel sees its end as the parent's.
    """
    keeping = [sys.executable, "-I", __file__, str(os.getpid()), str(grace_s)]
    return subprocess.Popen(
        [*keeping, *command],
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
    )


def die_with_parent(signum: int) -> None:
    """Have the kernel send ``signum`` to this process when its parent dies."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signum)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parent dies."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1)


def children() -> list[int]:
    """Return the direct children of this process, adopted ones included."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found


def reap(child: int) -> int | None:
    """Collect dead processes; return the child's exit code once it is among them."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == child:
                code = os.waitstatus_to_exitcode(status)
    return code


def kill_descendants(child: int) -> None:
    """Kill all descendants; the children of each dead one become ours."""
    deadline = time.monotonic() + 5
    while (left := children()) and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
        reap(child)


def keep(parent: int, grace_s: float, command: list[str]) -> int:
    """Run the command; return its exit code once all of its processes have ended."""
    stopping_at: list[float] = []
    die_with_parent(signal.SIGTERM)
    if os.getppid() != parent:
        return 1
    adopt_orphans()
    child = subprocess.Popen(
        command, start_new_session=True, preexec_fn=lambda: die_with_parent(signal.SIGKILL)
    )

    def stop(_signum: int, _frame: FrameType | None) -> None:
        if not stopping_at:
            stopping_at.append(time.monotonic())
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGTERM)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent decides what Ctrl-C means
    code = None
    while code is None:
        if stopping_at and time.monotonic() - stopping_at[0] > grace_s:
            break
        time.sleep(0.05)
        code = reap(child.pid)
    kill_descendants(child.pid)
    return 128 + signal.SIGKILL if code is None else code if code >= 0 else 128 - code


if __name__ == "__main__":
    sys.exit(keep(int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
