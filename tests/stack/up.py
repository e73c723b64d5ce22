"""``sfumato up`` in a process of its own, with every process it starts marked."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path
from time import monotonic, sleep

from service.client.client import Sfumato
from service.client.views import WorkerView
from tests.processes import PATIENCE_S, wait

MARK = "SFUMATO_TEST_MARK"


def marked(mark: str) -> dict[int, str]:
    """Return the command lines of all live processes that carry this mark, by process id."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            carries = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes()
            command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            continue
        if carries and command:
            found[int(folder.name)] = command
    return found


def end_marked(mark: str) -> None:
    """Kill all live processes that carry this mark."""
    for pid in marked(mark):
        with contextlib.suppress(ProcessLookupError):  # it has just ended
            os.kill(pid, signal.SIGKILL)


def sfumato(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    command = [sys.executable, "-m", "service.cli.main", *words]
    variables = os.environ | env
    return subprocess.run(
        command, env=variables, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )


def only_worker(client: Sfumato) -> WorkerView:
    """Return the one worker once it is announced, which it is not while a machine stands still."""
    found: list[WorkerView] = []

    def one() -> bool:
        found[:] = client.workers()
        return len(found) == 1

    wait("one worker", one)
    return found[0]


class Up:
    """A running stack."""

    def __init__(self, data: Path, model: Path, *options: str, **env: object) -> None:
        self.data = data
        self.mark = uuid.uuid4().hex
        variables = {MARK: self.mark, "SFUMATO_MODEL": str(model), "OMP_NUM_THREADS": "1"}
        # Nothing on this machine may be asked for through a proxy; nobody answers at this one.
        variables |= {"HTTP_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "socks5://127.0.0.1:1"}
        variables |= {f"SFUMATO_{key.upper()}": str(value) for key, value in env.items()}
        environment = {k: v for k, v in os.environ.items() if k != "REDIS_URL"} | variables
        data.mkdir(exist_ok=True)
        self.log = data / f"up-{self.mark}.log"
        command = [
            sys.executable,
            "-m",
            "service.cli.main",
            "up",
            "--port",
            "0",
            "--data",
            str(data),
        ]
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*command, *options], env=environment, stdout=log, stderr=log
            )

    def ready(self, timeout_s: float = 2 * PATIENCE_S) -> str:
        """Return the door's URL once a job would succeed."""
        deadline = monotonic() + timeout_s
        while not (found := re.search("^ready (.*)$", self.log.read_text(), re.MULTILINE)):
            running = self.process.poll() is None and monotonic() < deadline
            assert running, self.story()
            sleep(0.1)
        return found[1]

    def stop(self, signum: int = signal.SIGTERM, timeout_s: float = PATIENCE_S) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(signum)
        return self.process.wait(timeout_s)

    def processes(self) -> dict[int, str]:
        """Return all live processes of this stack, the supervisor left out."""
        return {pid: line for pid, line in marked(self.mark).items() if pid != self.process.pid}

    def pid_of(self, word: str) -> int:
        """Return the process whose command has this word, its keeper left out."""
        (pid,) = (
            pid
            for pid, command in self.processes().items()
            if word in command and "keeper.py" not in command
        )
        return pid

    def gone(self, timeout_s: float = PATIENCE_S) -> dict[int, str]:
        """Return what is left of the stack once nothing is, or after the time."""
        deadline = monotonic() + timeout_s
        while (left := self.processes()) and monotonic() < deadline:
            sleep(0.1)
        return left

    def end(self) -> None:
        """End everything, whatever state it is in."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.gone(30.0)
        end_marked(self.mark)

    def story(self) -> str:
        """Return all logs."""
        logs = [self.log, *sorted((self.data / "logs").glob("*.log"))]
        return "\n".join(f"== {log.name}\n{log.read_text()[-3000:]}" for log in logs)
