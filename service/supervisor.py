"""Child processes that are started in order, watched, restarted with backoff, stopped in order."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from service import keeper

BACKOFF_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
STEADY_S = 60.0
"""A child that ran this long starts its backoff from the beginning."""


class ChildFailed(RuntimeError):
    """A part of the stack ended while it was starting."""


@dataclass(eq=False)
class Child:
    """One supervised process."""

    name: str
    command: Sequence[str]
    env: Mapping[str, str]
    log: Path
    grace_s: float = 8.0  # between SIGTERM and SIGKILL
    process: subprocess.Popen[bytes] | None = None
    started_at: float = 0.0
    failures: int = 0
    restart_at: float | None = None

    @property
    def pid(self) -> int | None:
        """The keeper's process id, None when it does not run."""
        return None if self.process is None else self.process.pid

    def start(self) -> None:
        """Start the process under a keeper, its output appended to the log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        keeping = [sys.executable, "-I", keeper.__file__, str(os.getpid()), str(self.grace_s)]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*keeping, *self.command],
                env=dict(self.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.started_at = time.monotonic()
        self.restart_at = None

    def running(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.poll() is None

    def terminate(self) -> None:
        """Ask it to end."""
        if self.process is not None and self.running():
            self.process.terminate()

    def wait(self, timeout_s: float) -> None:
        """Wait for its end; kill the keeper, and with it the process, when it takes too long."""
        if self.process is None:
            return
        try:
            self.process.wait(timeout_s)
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
    """Keeps children running. ``tell`` gets a line for a person whenever something happens."""

    tell: Callable[[str], None]
    children: list[Child] = field(default_factory=list)  # in order of start

    def start(self, child: Child) -> None:
        """Start a child and watch over it from now on."""
        self.children.append(child)
        child.start()

    def check_starting(self) -> None:
        """Look after children while the stack starts.

        Raises:
            ChildFailed: one has ended; the message ends with the last lines of its log.
        """
        for child in self.children:
            if not child.running():
                code = None if child.process is None else child.process.returncode
                raise ChildFailed(
                    f"{child.name} ended with code {code} while starting; "
                    f"the end of {child.log}:\n{child.last_lines()}"
                )

    def check(self) -> None:
        """Restart what has died, each child with a backoff of its own."""
        now = time.monotonic()
        for child in self.children:
            if child.running():
                continue
            if child.restart_at is None:
                code = None if child.process is None else child.process.returncode
                steady = now - child.started_at > STEADY_S
                child.failures = 0 if steady else child.failures + 1
                pause = BACKOFF_S[min(child.failures, len(BACKOFF_S) - 1)]
                child.restart_at = now + pause
                self.tell(f"{child.name} ended with code {code}; started again in {pause:g} s")
            elif now >= child.restart_at:
                child.start()
                self.tell(f"{child.name} started again")

    def stop(self) -> None:
        """Stop all children, the last started first; those of one kind at once."""
        while self.children:
            kind = self.children[-1].name.split("-")[0]
            group = [c for c in self.children if c.name.split("-")[0] == kind]
            for child in group:
                child.terminate()
            for child in group:
                child.wait(child.grace_s + 6)
                self.children.remove(child)
