"""A receiver of webhooks on a port of its own: it keeps what it receives and answers as asked."""

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from standardwebhooks.webhooks import Webhook


@dataclass(frozen=True)
class Message:
    """One request that came in."""

    path: str
    headers: dict[str, str]
    body: bytes

    def checked(self, secret: str) -> dict[str, Any]:
        """Return what it says; its signature has to be good."""
        found: dict[str, Any] = Webhook(secret).verify(self.body, self.headers)
        return found


@dataclass
class Receiver:
    """What was received, and how to answer."""

    port: int = 0
    messages: list[Message] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)  # of the next answers; 200 once empty
    answering: Callable[[BaseHTTPRequestHandler], None] | None = None

    def url(self, host: str = "127.0.0.1", scheme: str = "http") -> str:
        """Return where it listens."""
        return f"{scheme}://{host}:{self.port}/hook"


@contextlib.contextmanager
def receiver(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """Run a receiver while the block runs."""
    kept = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            kept.messages.append(Message(self.path, headers, body))
            if kept.answering is not None:
                kept.answering(self)
                return
            self.send_response(kept.statuses.pop(0) if kept.statuses else 200)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, request: Any, client_address: Any) -> None:
            return  # a client that leaves in the middle is what some tests are about

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(
            server.socket, server_side=True, do_handshake_on_connect=False
        )
    kept.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield kept
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
