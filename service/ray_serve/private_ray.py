"""Ray with Serve on this machine alone, which lives and dies with the process that starts it."""

import contextlib
import fcntl
import logging
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

import structlog

from jobs.errors import StartError
from service.processes.no_proxy import without_proxy
from service.ray_serve.settings import private_environment

log = structlog.get_logger()

NOTE = "ray-folder"  # a file that names the folder
PREFIX = "sfumato-"
LONGEST = 25  # bytes, so that a socket's path in it has at most 97, HAProxy's limit:
"""``/h/`` and 56 hexadecimal digits of the node's id, then ``/metrics.sock``. Ray's limit is 107:
``/r/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store``."""
OBJECT_STORE_BYTES = 80 * 1024 * 1024  # Ray's minimum; nothing of ours goes there


@contextlib.contextmanager
def private_serve(data: Path, num_cpus: int, **options: Any) -> Iterator[ModuleType]:
    """Run Ray and Serve for the length of the block; yield ``ray.serve``.

    Nothing may import Ray before: it reads its settings from the environment when it is imported.

    Args:
        data: a folder that records where Ray's files are.
        num_cpus: what deployments may ask for; nothing is reserved.
        options: those of ``serve.start``.
    """
    with private_ray(data, num_cpus):
        from ray import serve

        try:
            on_stop(leave)  # Ray has installed handlers of its own
            serve.start(**options)
            yield serve
        finally:
            stopped_at = time.monotonic()
            with contextlib.suppress(Exception):  # Serve may be what failed
                for application in serve.status().applications:
                    serve.delete(application)  # a shutdown alone cuts requests in flight
            with contextlib.suppress(Exception):
                serve.shutdown()
            log.info("Serve stopped", seconds=round(time.monotonic() - stopped_at, 1))


@contextlib.contextmanager
def private_ray(data: Path, num_cpus: int) -> Iterator[None]:
    """Run Ray for the length of the block."""
    with short_folder(data) as folder:
        os.environ.pop("RAY_ADDRESS", None)
        os.environ.update(private_environment(folder) | without_proxy(os.environ))
        import ray

        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(folder / "r"),
            _node_ip_address="127.0.0.1",
            namespace="serve",
            num_cpus=num_cpus,
        )
        try:
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def short_folder(data: Path) -> Iterator[Path]:
    """Make a folder with a short path and remove it afterwards, and one left by a killed run.

    It is in ``data``, or in ``TMPDIR`` if the path would be too long for sockets. There it is
    locked, so that systemd-tmpfiles leaves it alone however old it is.
    """
    note = data / NOTE
    with contextlib.suppress(OSError, UnicodeError):
        left = Path(note.read_text())
        if left.name.startswith(PREFIX) or left.parent == data.absolute():
            shutil.rmtree(left, ignore_errors=True)
    folder = _made_folder(data.absolute())
    note.write_text(str(folder))
    held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(held, fcntl.LOCK_SH)
        yield folder
    finally:
        os.close(held)
        shutil.rmtree(folder, ignore_errors=True)
        note.unlink(missing_ok=True)


def _made_folder(data: Path) -> Path:
    """Make the folder, readable by its owner only. Raises: StartError."""
    own = data / "ray"
    if len(os.fsencode(own)) <= LONGEST:
        shutil.rmtree(own, ignore_errors=True)
        own.mkdir(mode=0o700)
        return own
    parents = (Path(tempfile.gettempdir()), Path("/tmp"))  # nosec B108 # mkdtemp: mode 0700
    for parent in parents:
        if len(os.fsencode(parent / f"{PREFIX}12345678")) <= LONGEST and os.access(parent, os.W_OK):
            return Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
    paths = ", ".join(map(str, (data, *parents)))
    raise StartError(f"no folder for Ray's sockets: {paths}: too long, or not writable")


def files_lost(data: Path) -> bool:
    """Return whether somebody has removed Ray's files, without which it cannot go on."""
    try:
        return not Path((data / NOTE).read_text()).is_dir()
    except (OSError, UnicodeError):
        return True


def on_stop(act: Callable[[], None]) -> None:
    """Call this on SIGTERM or SIGINT."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: act())


def stop_event() -> threading.Event:
    """Return an event that SIGTERM or SIGINT sets."""
    stopping = threading.Event()
    on_stop(stopping.set)
    return stopping


def leave() -> None:
    """End this process with clean-up, wherever it is. Raises: SystemExit."""
    on_stop(lambda: None)
    raise SystemExit(0)


def exit_now(code: int) -> NoReturn:
    """End this process after clean-up without waiting a second for Ray's threads."""
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)
