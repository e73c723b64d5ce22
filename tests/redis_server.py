"""A Redis server for the length of a block."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from service.processes.ports import free_port
from service.processes.redis_server import redis_command, wait_ready
from tests.processes import PATIENCE_S, process


@contextlib.contextmanager
def redis_server(data: Path, port: int | None = None) -> Iterator[str]:
    """Run a server in ``data`` for the length of the block; yield its URL."""
    port = port or free_port()
    data.mkdir(parents=True, exist_ok=True)
    with process(redis_command(data, port), data / "redis.log"):
        wait_ready(port, PATIENCE_S)
        yield f"redis://127.0.0.1:{port}/0"
