"""Processes forked from one that has imported everything: a worker is up in half a second.

What a fault does to a process does not depend on how it was started, and importing torch takes
seconds. The fork server is the standard library's; it is started with the first child.
"""

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from multiprocessing.context import ForkServerContext
from pathlib import Path
from time import monotonic, sleep

PRELOAD = [
    "workers.app",
    "celery.__main__",
    "celery.apps.worker",
    "tests.bundles",
    "tests.faults.children",
]


def context() -> ForkServerContext:
    """Return the fork server's context; its first child starts the server."""
    chosen = multiprocessing.get_context("forkserver")
    chosen.set_forkserver_preload(PRELOAD)
    return chosen


class Forked:
    """A child with the part of :class:`subprocess.Popen` that the tests use."""

    def __init__(
        self, target: Callable[[list[str]], None], words: list[str], env: Mapping[str, str],
        log: Path,
    ) -> None:  # fmt: skip
        self._process = context().Process(
            target=_enter, args=(target, words, dict(env), str(log)), daemon=True
        )
        self._process.start()
        pid = self._process.pid
        assert pid is not None
        self.pid: int = pid

    @property
    def returncode(self) -> int | None:
        """The exit code, None while it runs; negative for a signal."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code once it has ended. Raises: subprocess.TimeoutExpired."""
        deadline = None if timeout is None else monotonic() + timeout
        while (code := self._process.exitcode) is None:
            if deadline is not None and monotonic() > deadline:
                raise subprocess.TimeoutExpired(["forked"], timeout or 0.0)
            sleep(0.01)
        return code

    def send_signal(self, signum: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # the fork server is about to say so
                os.kill(self.pid, signum)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def _enter(
    target: Callable[[list[str]], None], words: list[str], env: dict[str, str], log: str
) -> None:
    os.setsid()
    with open(log, "ab") as out:
        os.dup2(out.fileno(), 1)
        os.dup2(out.fileno(), 2)
    os.environ.clear()
    os.environ.update(env)
    sys.argv = words
    target(words)
