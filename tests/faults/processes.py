"""Real workers, doors and Redis servers that tests may kill."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from jobs.settings import JobsSettings
from service.processes.redis_server import redis_command, wait_ready
from tests.faults import children
from tests.faults.nursery import Forked
from tests.processes import PATIENCE_S


class Worker:
    """A Celery worker in a process of its own."""

    def __init__(
        self,
        settings: JobsSettings,
        model: Path,
        name: str,
        log: Path,
        *,
        target: Callable[[list[str]], None] = children.worker,
        code: Path | None = None,
        preload: Path | None = None,
        variables: Mapping[str, str] | None = None,
        **env: object,
    ) -> None:
        self.name = name
        self.log = log
        self.log.touch()
        own = environment(settings) | {
            "SFUMATO_MODEL": str(model),
            "SFUMATO_WORKER_ID": name,
            "SFUMATO_THREADS": "1",
            "SFUMATO_SLOTS": "8",
            "SFUMATO_ROWS_PER_TICK": "8",
            "SFUMATO_DETERMINISTIC": "1",
            "OMP_NUM_THREADS": "1",
        }
        own |= {f"SFUMATO_{key.upper()}": str(value) for key, value in env.items()}
        own |= variables or {}
        words = ["celery", "-q", "-A", "workers.app", "worker", "-P", "threads"]
        words += ["-n", f"{name}@test"]
        self.process: Forked | subprocess.Popen[bytes]
        if code is None and preload is None:
            self.process = Forked(target, words, os.environ | own, log)
            return
        if preload is not None:
            own["LD_PRELOAD"] = str(preload)
        self.process = interpreter(words, own, log, code)

    @property
    def pid(self) -> int:
        """The process id."""
        return self.process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self.process.poll() is None

    def kill(self) -> None:
        """Kill it as a machine failure would."""
        self.process.kill()
        self.process.wait()

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        self.process.send_signal(signal.SIGCONT)

    def stop(self, timeout_s: float = PATIENCE_S) -> int:
        """Send SIGTERM; return the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)

    def end(self) -> None:
        """End it, whatever state it is in."""
        if self.alive:
            self.kill()


class Door:
    """The door under uvicorn in a process of its own, on a port it keeps over restarts."""

    def __init__(
        self,
        settings: JobsSettings,
        port: int,
        log: Path,
        *,
        code: Path | None = None,
        **env: object,
    ) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._words = ["service.uvicorn_door", "--host", "127.0.0.1", "--port", str(port)]
        self._code = code
        self._env = os.environ | environment(settings)
        self._env |= {f"SFUMATO_{key.upper()}": str(value) for key, value in env.items()}
        self._log = log
        self.process: Forked | subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it answers a little later."""
        if self._code is None:
            self.process = Forked(children.door, self._words, self._env, self._log)
        else:
            self.process = interpreter(self._words, self._env, self._log, self._code)

    def kill(self) -> None:
        """Kill it with -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


# With everysec, Redis holds writes back for up to 2 s while an earlier sync of the file lasts.
ON_DISK = ("--appendfsync", "always")  # before it is acknowledged


class RedisProcess:
    """A Redis server with its files in a folder, on a port it keeps over restarts."""

    def __init__(
        self, folder: Path, port: int, *options: str, binary: str | None = None,
        env: dict[str, str] | None = None, prepare: Callable[[], None] | None = None,
    ) -> None:  # fmt: skip
        self.folder = folder
        self.port = port
        command = redis_command(folder, port)
        self._command = [binary or command[0], *command[1:], *options]
        self._env = os.environ | (env or {})
        self._prepare = prepare
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Its URL."""
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        """The process id."""
        assert self.process is not None
        return self.process.pid

    def start(self) -> None:
        """Start it and wait until it has loaded its files."""
        self.folder.mkdir(exist_ok=True)
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command, env=self._env, preexec_fn=self._prepare, stdout=log, stderr=log
            )
        wait_ready(self.port, PATIENCE_S)

    def kill(self) -> None:
        """Kill it with -9."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()


def interpreter(
    words: list[str], env: Mapping[str, str], log: Path, code: Path | None
) -> "subprocess.Popen[bytes]":
    """Run a module in an interpreter of its own: another version's code, or a library under it."""
    own = os.environ | env | {"PYTHONPATH": str(code or children.repository())}
    with log.open("ab") as out:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", *words], env=own, cwd=log.parent, stdout=out, stderr=out
        )


def environment(settings: JobsSettings) -> dict[str, str]:
    """Return the variables that give a process these settings."""
    fields = settings.model_dump(exclude_defaults=True, mode="json")
    return {f"SFUMATO_{name.upper()}": str(value) for name, value in fields.items()}
