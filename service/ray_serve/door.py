"""The door behind Ray Serve and HAProxy, on a private Ray that lives and dies with this process:
``python -m service.ray_serve.door --host 127.0.0.1 --port 8000 --data DIR``.
"""

import contextlib
import logging
import os
import threading
import time
from pathlib import Path

import httpx
import structlog

from jobs.host.addresses import reachable, url_host
from service.door_process import start
from service.processes.folder import usable_folder
from service.ray_serve.bind_address import serve_host
from service.ray_serve.private_ray import (
    exit_now,
    files_lost,
    leave,
    on_stop,
    private_serve,
    stop_event,
)

log = structlog.get_logger()

NUM_CPUS = 4  # bookkeeping only: nothing here asks for a share
READY_LIMIT_S = 120.0
PROBE_EVERY_S = 5.0
PROBES_FAILED = 12  # in a row, until the process exits and its supervisor restarts it


def main() -> int:
    """Serve until SIGTERM; then end requests in flight, Serve, and Ray."""
    options, _ = start(__doc__ or "")
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every probe
    on_stop(leave)
    return serve_until_stopped(options.data, options.host, options.port)


def serve_until_stopped(data: Path, host: str, port: int) -> int:
    """Start Ray and Serve, watch the door until asked to stop, and shut them down."""
    started_at = time.monotonic()
    usable_folder(data)
    host_of_serve, variables = serve_host(host, port)
    os.environ.update(variables)
    http = {"host": host_of_serve, "port": port}
    with private_serve(data, NUM_CPUS, proxy_location="HeadOnly", http_options=http) as serve:
        from service.ray_serve import deployment

        door = serve.run(deployment.app(), name=deployment.NAME, route_prefix="/")
        url = f"http://{reachable(host)}:{port}"
        wait_ready(url)
        stopping = stop_event()
        print(f"ready http://{url_host(host)}:{port}", flush=True)
        log.info("door ready", url=url, seconds=round(time.monotonic() - started_at, 1))
        code = watch(url, stopping, data)
        with contextlib.suppress(Exception):  # Serve may be what failed
            deployment.close_streams(door)
        return code


def wait_ready(url: str) -> None:
    """Wait until the door answers. Raises: SystemExit if it does not in time."""
    deadline = time.monotonic() + READY_LIMIT_S
    while not answers(url):
        if time.monotonic() > deadline:
            raise SystemExit(f"the door did not answer within {READY_LIMIT_S:.0f} s")
        time.sleep(0.1)


def watch(url: str, stopping: threading.Event, data: Path) -> int:
    """Probe the door until asked to stop; return the exit code."""
    failed = 0
    while not stopping.wait(PROBE_EVERY_S):
        if files_lost(data):
            log.error("the files of Ray are gone; something has cleaned their folder")
            return 1
        failed = 0 if answers(url) else failed + 1
        if failed >= PROBES_FAILED:
            log.error("the door no longer answers", probes=failed)
            return 1
    return 0


def answers(url: str) -> bool:
    """Return whether the door's liveness probe succeeds."""
    try:
        return httpx.get(f"{url}/healthz", timeout=5, trust_env=False).status_code == 200
    except httpx.HTTPError:
        return False


if __name__ == "__main__":
    exit_now(main())
