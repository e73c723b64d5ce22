"""A door in a process of its own, for as long as a benchmark needs it."""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from service.processes.ports import free_port
from tests.processes import door_answers, process, wait

START_S = 120
MODULES = {"serve": "service.ray_serve.door", "uvicorn": "service.uvicorn_door"}


@contextlib.contextmanager
def door_process(kind: str, redis_url: str, folder: Path) -> Iterator[str]:
    """Run ``serve`` or ``uvicorn`` on a free port; yield its address once it is ready."""
    port = free_port()
    command = [sys.executable, "-m", MODULES[kind], "--host", "127.0.0.1"]
    command += ["--port", str(port), "--data", str(folder / "door")]
    env = {"sfumato_redis_url": redis_url, "sfumato_log_level": "WARNING"}
    url = f"http://127.0.0.1:{port}"
    with process(command, folder / "log", **env) as door:

        def ready() -> bool:
            assert door.poll() is None, "the door has ended"
            return door_answers(url)

        wait("the door", ready, START_S)
        yield url
