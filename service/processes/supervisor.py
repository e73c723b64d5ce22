"""Child processes that are started in order, watched, restarted with backoff, stopped in order."""

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from service.processes import keeper

BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
LINES_SHOWN = 12
STEADY_S = 60.0
"""The backoff of a child that ran this long starts over."""


class ChildFailed(RuntimeError):
    """A child process ended while the stack was starting; ``output`` is the end of its log."""

    def __init__(self, message: str, output: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.output = output


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
    log_began: int = 0  # where the output of this start begins

    def start(self) -> None:
        """Start the process; its output is appended to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.log_began = log.tell()
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

    def output(self) -> list[str]:
        """Return the lines that it has written since it was started."""
        try:
            with self.log.open("rb") as log:
                log.seek(self.log_began)
                lines = log.read().decode(errors="replace").split("\n")
        except OSError:
            return []
        return [line.rstrip("\r") for line in lines if line.strip()]

    def failure(self) -> ChildFailed:
        """Return why it ended: what it said last, or the end of its log if it says no reason."""
        code, output = self.process.returncode, self.output()
        reason = output[-1] if output else ""
        if code == 1 and reason and not reason.startswith(("{", " ")) and not _crashed(output):
            return ChildFailed(f"{self.name}: {reason}")
        where = f"the end of {self.log}:" if output else f"{self.log} is empty"
        message = f"{self.name} ended with code {code} while starting; {where}"
        return ChildFailed(message, output[-LINES_SHOWN:])


def _crashed(output: Sequence[str]) -> bool:
    return any(line.startswith("Traceback ") for line in output)


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
            ChildFailed: one has ended; the message says why.
        """
        for child in self.children:
            if not child.running():
                raise child.failure()

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
