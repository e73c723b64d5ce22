"""Ray with Serve on this machine alone, which lives and dies with the process that starts it."""

import contextlib
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

from service.ray_serve.settings import private_environment

log = structlog.get_logger()

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
    data.mkdir(parents=True, exist_ok=True)
    with short_folder(data) as folder:
        os.environ.pop("RAY_ADDRESS", None)
        os.environ.update(private_environment(folder))
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
    """Make a folder with a short path and remove it afterwards, and one left by a killed run."""
    note = data / "ray-folder"
    with contextlib.suppress(FileNotFoundError):
        left = Path(note.read_text())
        if left.name.startswith("sfumato-"):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="sfumato-", dir="/tmp"))  # nosec B108 # mode 0700
    note.write_text(str(folder))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        note.unlink(missing_ok=True)


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
