"""A door in a process of its own, for as long as a benchmark needs it."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from time import monotonic, sleep

import httpx

from service.processes.redis_server import free_port

START_S = 120


@contextlib.contextmanager
def door_process(kind: str, redis_url: str, folder: Path) -> Iterator[str]:
    """Run ``serve`` or ``uvicorn`` on a free port; yield its address once it is ready."""
    port, log = free_port(), folder / "log"
    command = [sys.executable, "-m", f"service.{kind}_door", "--host", "127.0.0.1"]
    command += ["--port", str(port), "--data", str(folder / "door")]
    env = os.environ | {"SFUMATO_REDIS_URL": redis_url, "SFUMATO_LOG_LEVEL": "WARNING"}
    with log.open("wb") as out:
        door = subprocess.Popen(command, env=env, stdout=out, stderr=out)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_ready(url, door, log)
        yield url
    finally:
        door.terminate()
        try:
            door.wait(30)
        except subprocess.TimeoutExpired:
            door.kill()
            door.wait()


def _wait_until_ready(url: str, door: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = monotonic() + START_S
    while monotonic() < deadline:
        assert door.poll() is None, log.read_text()[-3000:]
        try:
            if httpx.get(f"{url}/readyz").status_code == 200:
                return
        except httpx.HTTPError:
            pass
        sleep(0.1)
    raise TimeoutError(log.read_text()[-3000:])
