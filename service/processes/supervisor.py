"""Child processes that are started in order, watched, restarted with backoff, stopped in order."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from service.processes import keeper

BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_S = 60.0
"""The backoff of a child that ran this long starts over."""


class ChildFailed(RuntimeError):
    """A child process ended while the stack was starting."""


@dataclass(eq=False)
class Child:
    """A supervised process, under a keeper."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    grace_s: float = 8.0  # from SIGTERM to SIGKILL
    process: "subprocess.Popen[bytes]" = field(init=False)
    started_at: float = 0.0
    failures: int = 0
    restart_at: float | None = None

    def start(self) -> None:
        """Start the process; its output is appended to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = keeper.start(self.command, self.env, self.grace_s, log)
        self.started_at = time.monotonic()
        self.restart_at = None

    def running(self) -> bool:
        """Return whether the process is running."""
        return self.process.poll() is None

    def wait(self) -> None:
        """Wait for its end; kill the keeper, and with it the process, if it takes too long."""
        try:
            self.process.wait(self.grace_s + 6)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def last_lines(self, count: int = 12) -> str:
        """Return the end of its log."""
        try:
            return "\n".join(self.log.read_text(errors="replace").splitlines()[-count:])
        except OSError:
            return ""


@dataclass
class Supervisor:
    """Keeps children running. ``report`` gets a line for people whenever something happens."""

    report: Callable[[str], None]
    children: list[Child] = field(default_factory=list)  # in order of start

    def start(self, child: Child) -> None:
        """Start a child and supervise it from now on."""
        child.start()
        self.children.append(child)

    def check_starting(self) -> None:
        """Check children while the stack starts.

        Raises:
            ChildFailed: one has ended; the message has the last lines of its log.
        """
        for child in self.children:
            if not child.running():
                raise ChildFailed(
                    f"{child.name} ended with code {child.process.returncode} while starting; "
                    f"the end of {child.log}:\n{child.last_lines()}"
                )

    def check(self) -> None:
        """Restart children that have ended, each with its own backoff."""
        now = time.monotonic()
        for child in self.children:
            if child.running():
                continue
            if child.restart_at is None:
                steady = now - child.started_at > STEADY_S
                child.failures = 0 if steady else child.failures + 1
                pause = BACKOFF_S[min(child.failures, len(BACKOFF_S) - 1)]
                child.restart_at = now + pause
                code = child.process.returncode
                self.report(f"{child.name} ended with code {code}; restarting in {pause:g} s")
            elif now >= child.restart_at:
                child.start()
                self.report(f"{child.name} restarted")

    def stop(self) -> None:
        """Stop all children, the last started first, those of one kind together."""
        for _, group in groupby(reversed(self.children), lambda child: child.name.split("-")[0]):
            stopping = list(group)
            for child in stopping:
                child.process.terminate()
            for child in stopping:
                child.wait()
        self.children.clear()
