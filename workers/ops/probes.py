"""``/livez``, ``/readyz`` and ``/metrics`` of a worker, on one port, from threads of their own."""

import socket
from collections.abc import Callable, Iterable
from threading import Thread
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, make_server
from wsgiref.types import StartResponse, WSGIEnvironment

from prometheus_client import CollectorRegistry, make_wsgi_app
from prometheus_client.exposition import ThreadingWSGIServer

from jobs.host.addresses import bind_host

Check = Callable[[], list[str]]
"""Returns what is wrong; empty if nothing is."""
SLOW_CLIENT_S = 10


class _Handler(WSGIRequestHandler):
    timeout = SLOW_CLIENT_S

    def log_message(self, *_: Any) -> None:
        """Log nothing: a probe comes every few seconds."""


class _Server6(ThreadingWSGIServer):
    address_family = socket.AF_INET6


class Probes:
    """The server, which listens until it is closed.

    Raises:
        OSError: it cannot listen there; the error names the settings.
    """

    def __init__(
        self, registry: CollectorRegistry, live: Check, ready: Check, host: str, port: int
    ) -> None:
        metrics: Any = make_wsgi_app(registry)
        checks = {"/livez": live, "/readyz": ready}

        def answer(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
            path = environ.get("PATH_INFO", "")
            if path == "/metrics":
                answered: Iterable[bytes] = metrics(environ, start)
                return answered
            if path not in checks:
                return _text(start, "404 Not Found", "there are /livez, /readyz and /metrics")
            reasons = checks[path]()
            if reasons:
                return _text(start, "503 Service Unavailable", "\n".join(reasons))
            return _text(start, "200 OK", "ok")

        kind = _Server6 if ":" in bind_host(host) else ThreadingWSGIServer
        try:
            self._server = make_server(
                bind_host(host), port, answer, server_class=kind, handler_class=_Handler
            )
        except OSError as error:
            where = f"no probes at SFUMATO_METRICS_HOST {host}, SFUMATO_METRICS_PORT {port}"
            raise OSError(error.errno, f"{where}: {error.strerror or error}") from error
        self._thread = Thread(target=self._server.serve_forever, name="probes", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """The port of the server."""
        return int(self._server.server_address[1])

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _text(start: StartResponse, status: str, text: str) -> list[bytes]:
    body = f"{text}\n".encode()
    headers = [("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))]
    start(status, headers)
    return [body]
