"""The door under plain uvicorn: ``python -m service.uvicorn_door --host 127.0.0.1 --port 8000``."""

import socket
import sys
from functools import partial
from types import FrameType
from typing import Any, cast

import structlog
import uvicorn
from fastapi import FastAPI

from jobs.host.addresses import listeners, url_host
from service.application import create_app
from service.door_process import connections_that_fit, start
from service.http.connection import Connection, ConnectionLimits, Connections

log = structlog.get_logger()

STOP_S = 4  # for requests in flight
IDLE_S = 90
"""Longer than load balancers keep an idle connection (60 to 75 s): they answer 502 if the server
closes a connection that they are about to use. Ray Serve has the same limit."""


class DoorServer(uvicorn.Server):
    """A server that ends event streams on a stop signal instead of waiting for them."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Remember the signal and end streams and waits."""
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # uvicorn would raise them again: the exit code is to be 0
        door = getattr(self._app.state, "door", None)
        if door is not None:
            door.closing.get_loop().call_soon_threadsafe(door.close_streams)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start on the host's addresses of both families, then print the address."""
        own = sockets or listeners(self.config.host, self.config.port)
        try:
            await super().startup(own)
        except BaseException:
            for each in own:
                each.close()
            raise
        if self.started:
            url = f"http://{url_host(self.config.host)}:{self.config.port}"
            print(f"ready {url}", flush=True)
            log.info("door ready", url=url)


def server(
    app: FastAPI, host: str, port: int, limits: ConnectionLimits | None = None
) -> DoorServer:
    """Return a server for the application; it logs where the application does."""
    shared = Connections(limits or ConnectionLimits(connections_that_fit()), app.state.counters)
    config = uvicorn.Config(
        app,
        http=cast(Any, partial(Connection, shared=shared)),
        ws="none",
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # the application has its own list of proxies
        timeout_keep_alive=IDLE_S,
        timeout_graceful_shutdown=STOP_S,
        lifespan="on",
    )
    return DoorServer(config, app)


def main() -> int:
    """Serve until SIGTERM."""
    options, settings = start(__doc__ or "")
    limits = ConnectionLimits(connections_that_fit(), body_s=settings.body_timeout_s + 5)
    running = server(create_app(settings), options.host, options.port, limits)
    running.run()
    return 0 if running.started else 1


if __name__ == "__main__":
    sys.exit(main())
