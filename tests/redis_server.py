"""A Redis server for the length of a block."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

from service.processes.redis_server import free_port, redis_command, wait_ready


@contextlib.contextmanager
def redis_server(data: Path, port: int | None = None) -> Iterator[str]:
    """Run a server in ``data`` for the length of the block; yield its URL."""
    port = port or free_port()
    data.mkdir(parents=True, exist_ok=True)
    with (data / "redis.log").open("ab") as log:
        child = subprocess.Popen(redis_command(data, port), stdout=log, stderr=log)
    try:
        wait_ready(port)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        child.terminate()
        try:
            child.wait(10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
