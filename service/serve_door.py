"""The door behind Ray Serve and HAProxy, on a private Ray that lives and dies with this process:
``python -m service.serve_door --host 127.0.0.1 --port 8000 --data DIR``.
"""

import contextlib
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import structlog

from jobs.logs import configure
from service import asgi
from service.door_arguments import arguments
from service.serve_settings import private_environment

log = structlog.get_logger()

OBJECT_STORE_BYTES = 80 * 1024 * 1024  # Ray's least; the door puts nothing there
READY_LIMIT_S = 120.0
LOOK_EVERY_S = 5.0
LOOKS_FAILED = 12  # in a row, until the process gives up and its supervisor starts it anew


class Stopped(Exception):
    """SIGTERM or SIGINT came."""


def main() -> int:
    """Serve until SIGTERM; then end requests in flight, Serve, and Ray."""
    options = arguments(__doc__ or "")
    settings = asgi.read_settings()
    configure(settings.log_format, settings.log_level)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it tells of every look at the door
    stopping = threading.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: stopping.set())
    options.data.mkdir(parents=True, exist_ok=True)
    with short_folder(options.data) as folder:
        os.environ.pop("RAY_ADDRESS", None)
        os.environ.update(private_environment(folder))
        return serve_until(stopping, options.host, options.port, folder)


@contextlib.contextmanager
def short_folder(data: Path) -> Iterator[Path]:
    """Make a folder with a short path and remove it afterwards, one that a kill left included."""
    note = data / "ray-folder"
    with contextlib.suppress(FileNotFoundError):
        left = Path(note.read_text())
        if left.name.startswith("sfumato-"):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="sfumato-", dir="/tmp"))
    note.write_text(str(folder))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        note.unlink(missing_ok=True)


def serve_until(stopping: threading.Event, host: str, port: int, folder: Path) -> int:
    """Start Ray and Serve, watch until asked to stop, and shut both down."""
    import ray  # reads its settings from the environment as it is imported
    from ray import serve
    from ray.serve.config import HTTPOptions, ProxyLocation

    from service import deployment

    started_at = time.monotonic()
    ray.init(
        address="local",
        num_cpus=4,  # bookkeeping only: nothing here asks for a share
        include_dashboard=False,
        object_store_memory=OBJECT_STORE_BYTES,
        _temp_dir=str(folder / "r"),
        _node_ip_address="127.0.0.1",
        namespace="serve",
    )
    for signum in (signal.SIGTERM, signal.SIGINT):  # Ray has put handlers of its own there
        signal.signal(signum, lambda *_: stopping.set())
    try:
        serve.start(
            proxy_location=ProxyLocation.HeadOnly,
            http_options=HTTPOptions(host=host, port=port),
        )
        serve.run(deployment.app(), name=deployment.NAME, route_prefix="/")
        url = f"http://{host}:{port}"
        code = wait_ready(url, stopping)
        if code is None:
            print(f"ready {url}", flush=True)
            log.info("door ready", url=url, seconds=round(time.monotonic() - started_at, 1))
            code = watch(url, stopping)
        return code
    finally:
        asked_at = time.monotonic()
        with contextlib.suppress(Exception):  # Serve may be what broke
            serve.delete(deployment.NAME)
        with contextlib.suppress(Exception):
            serve.shutdown()
        ray.shutdown()
        log.info("door stopped", seconds=round(time.monotonic() - asked_at, 1))


def wait_ready(url: str, stopping: threading.Event) -> int | None:
    """Wait until the door answers; return an exit code if it should not go on, else None."""
    deadline = time.monotonic() + READY_LIMIT_S
    while not stopping.is_set():
        if answers(url):
            return None
        if time.monotonic() > deadline:
            log.error("the door did not answer in time", limit_s=READY_LIMIT_S)
            return 1
        stopping.wait(0.1)
    return 0


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
    sys.exit(main())
