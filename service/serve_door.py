"""The door behind Ray Serve and HAProxy, on a private Ray that lives and dies with this process:
``python -m service.serve_door --host 127.0.0.1 --port 8000 --data DIR``.
"""

import contextlib
import logging
import os
import sys
import threading
import time

import httpx
import structlog

from jobs.logs import configure
from jobs.settings import read_environment
from service.door_arguments import arguments
from service.file_limit import raise_file_limit
from service.private_ray import leave, on_stop, private_ray
from service.settings import ServiceSettings

log = structlog.get_logger()

READY_LIMIT_S = 120.0
LOOK_EVERY_S = 5.0
LOOKS_FAILED = 12  # in a row, until the process gives up and its supervisor starts it anew


def main() -> int:
    """Serve until SIGTERM; then end requests in flight, Serve, and Ray."""
    options = arguments(__doc__ or "")
    settings = read_environment(ServiceSettings)
    configure(settings.log_format, settings.log_level)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every look at the door
    raise_file_limit()
    on_stop(leave)
    started_at = time.monotonic()
    # num_cpus is bookkeeping only: nothing here asks for a share.
    with private_ray(options.data, num_cpus=4):
        return serve_until_stopped(options.host, options.port, started_at)


def serve_until_stopped(host: str, port: int, started_at: float) -> int:
    """Start Serve, watch until asked to stop, and shut it down."""
    from ray import serve
    from ray.serve.config import HTTPOptions, ProxyLocation

    from service import deployment

    try:
        on_stop(leave)  # Ray has put handlers of its own there
        serve.start(
            proxy_location=ProxyLocation.HeadOnly,
            http_options=HTTPOptions(host=host, port=port),
        )
        door = serve.run(deployment.app(), name=deployment.NAME, route_prefix="/")
        url = f"http://{host}:{port}"
        wait_ready(url)
        stopping = threading.Event()
        on_stop(stopping.set)
        print(f"ready {url}", flush=True)
        log.info("door ready", url=url, seconds=round(time.monotonic() - started_at, 1))
        code = watch(url, stopping)
        with contextlib.suppress(Exception):  # Serve may be what broke, here and below
            deployment.close_streams(door)
        return code
    finally:
        asked_at = time.monotonic()
        with contextlib.suppress(Exception):
            serve.delete(deployment.NAME)
        with contextlib.suppress(Exception):
            serve.shutdown()
        log.info("door stopped", seconds=round(time.monotonic() - asked_at, 1))


def wait_ready(url: str) -> None:
    """Wait until the door answers. Raises: SystemExit when it does not in time."""
    deadline = time.monotonic() + READY_LIMIT_S
    while not answers(url):
        if time.monotonic() > deadline:
            raise SystemExit(f"the door did not answer within {READY_LIMIT_S:.0f} s")
        time.sleep(0.1)


def watch(url: str, stopping: threading.Event) -> int:
    """Look after the door until asked to stop; return the exit code."""
    failed = 0
    while not stopping.wait(LOOK_EVERY_S):
        failed = 0 if answers(url) else failed + 1
        if failed >= LOOKS_FAILED:
            log.error("the door no longer answers", looks=failed)
            return 1
    return 0


def answers(url: str) -> bool:
    """Return whether the door says that it is alive."""
    try:
        return httpx.get(f"{url}/healthz", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # everything is down; Ray's threads would take another second to notice
