"""A door behind a real socket, in a thread of its own, for streams and disconnects."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from service.application import create_app
from service.http.connection import ConnectionLimits
from service.settings import ServiceSettings
from service.uvicorn_door import DoorServer, server

PATIENCE_S = 60
"""For a door to start, and for its requests in flight to end when it stops, on a busy machine."""


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
    listening = socket.create_server(("127.0.0.1", port or 0))  # from now on nobody else's
    port = listening.getsockname()[1]
    made = server(create_app(settings), "127.0.0.1", port, limits)
    made.config.ssl_certfile = certificate
    made.config.timeout_graceful_shutdown = PATIENCE_S
    scheme = "http" if certificate is None else "https"
    with running_door(made, [listening]) as running:
        yield f"{scheme}://127.0.0.1:{port}", running


@contextlib.contextmanager
def running_door(
    running: DoorServer, listening: list[socket.socket] | None = None
) -> Iterator[DoorServer]:
    """Run a server in a thread for the length of the block, on these sockets or its own."""
    thread = threading.Thread(target=running.run, args=(listening,), name="door")
    thread.start()
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not running.started:
            assert thread.is_alive()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        yield running
    finally:
        running.handle_exit(0, None)
        thread.join(2 * PATIENCE_S)
        assert not thread.is_alive()
