"""A door behind a real socket, in a thread of its own, for streams and disconnects."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from service.application import create_app
from service.http.connection import ConnectionLimits
from service.processes.ports import free_port
from service.settings import ServiceSettings
from service.uvicorn_door import DoorServer, server


def ipv6_hosts() -> tuple[str, ...]:
    """Return this machine's IPv6 loopback address; a container may have none."""
    with contextlib.suppress(OSError), socket.create_server(("::1", 0), family=socket.AF_INET6):
        return ("::1",)
    return ()


@contextlib.contextmanager
def served(
    settings: ServiceSettings,
    port: int | None = None,
    limits: ConnectionLimits | None = None,
    certificate: Path | None = None,
) -> Iterator[tuple[str, DoorServer]]:
    """Yield the door's address and its server; it has stopped after the block.

    With a ``certificate`` (PEM, with its key) it speaks TLS, as a proxy before it would.
    """
    port = port or free_port()
    made = server(create_app(settings), "127.0.0.1", port, limits)
    made.config.ssl_certfile = certificate
    scheme = "http" if certificate is None else "https"
    with running_door(made) as running:
        yield f"{scheme}://127.0.0.1:{port}", running


@contextlib.contextmanager
def running_door(running: DoorServer) -> Iterator[DoorServer]:
    """Run a server in a thread for the length of the block."""
    thread = threading.Thread(target=running.run, name="door")
    thread.start()
    try:
        deadline = time.monotonic() + 20
        while not running.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield running
    finally:
        running.handle_exit(0, None)
        thread.join(20)
        assert not thread.is_alive()
