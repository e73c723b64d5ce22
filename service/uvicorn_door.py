"""The door under plain uvicorn: ``python -m service.uvicorn_door --host 127.0.0.1 --port 8000``."""

import socket
import sys
from types import FrameType

import structlog
import uvicorn
from fastapi import FastAPI

from jobs.logs import configure
from jobs.settings import read_environment
from service.application import create_app
from service.door_arguments import arguments
from service.file_limit import raise_file_limit
from service.settings import ServiceSettings

log = structlog.get_logger()

STOP_S = 4  # for requests in flight
IDLE_S = 90
"""Longer than load balancers keep an idle connection (60 to 75 s): they answer 502 where a server
closes one that they are about to use. Ray Serve's own limit."""


class DoorServer(uvicorn.Server):
    """A server that ends event streams when it is told to stop, instead of waiting for them."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Remember the signal, and let go of everyone who waits."""
        super().handle_exit(sig, frame)
        self._captured_signals.clear()  # a stop that was asked for ends with code 0
        door = getattr(self._app.state, "door", None)
        if door is not None:
            door.loop.call_soon_threadsafe(door.close_streams)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and say so."""
        await super().startup(sockets)
        if self.started:
            url = f"http://{self.config.host}:{self.config.port}"
            print(f"ready {url}", flush=True)
            log.info("door ready", url=url)


def server(app: FastAPI, host: str, port: int) -> DoorServer:
    """Return a server for the application; its logs go where the application's go."""
    config = uvicorn.Config(
        app,
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
    options = arguments(__doc__ or "")
    settings = read_environment(ServiceSettings)
    configure(settings.log_format, settings.log_level)
    raise_file_limit()
    running = server(create_app(settings), options.host, options.port)
    running.run()
    return 0 if running.started else 1


if __name__ == "__main__":
    sys.exit(main())
