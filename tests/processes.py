"""Processes that run for the length of a block, and waiting for what they do."""

import os
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic, sleep

import httpx

from service.processes.ports import free_port

STOP_S = 30.0
PATIENCE_S = 240.0
"""After a wait of this length, what was waited for does not happen on any machine."""


def wait(what: str, probe: Callable[[], object], timeout_s: float = PATIENCE_S) -> None:
    """Wait until the probe is true."""
    deadline = monotonic() + timeout_s
    while not probe():
        assert monotonic() < deadline, f"not within {timeout_s} s: {what}"
        sleep(0.05)


@contextmanager
def reserved_port() -> Iterator[int]:
    """Hold a free port for the length of the block; a server may listen there meanwhile."""
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", free_port()))
        yield held.getsockname()[1]


@contextmanager
def process(command: list[str], log: Path, **env: object) -> Iterator["subprocess.Popen[bytes]"]:
    """Run a process; it gets SIGTERM at the end of the block, and SIGKILL if it does not stop."""
    variables = {name.upper(): str(value) for name, value in env.items()}
    with log.open("ab") as out:
        child = subprocess.Popen(command, env=os.environ | variables, stdout=out, stderr=out)
    try:
        yield child
    except Exception:
        print(f"== {log}\n{log.read_text()[-3000:]}")
        raise
    finally:
        child.terminate()
        try:
            child.wait(STOP_S)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def door_answers(url: str, workers: int = 0) -> bool:
    """Return whether the door is ready and knows so many workers."""
    try:
        ready = httpx.get(f"{url}/readyz", trust_env=False, timeout=20)
    except httpx.HTTPError:
        return False
    return ready.status_code == 200 and ready.json()["workers"] >= workers
