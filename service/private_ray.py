"""A Ray on this machine alone, which lives and dies with the process that starts it."""

import contextlib
import os
import shutil
import signal
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from service.serve_settings import private_environment

OBJECT_STORE_BYTES = 80 * 1024 * 1024  # Ray's least; nothing of ours goes there


@contextlib.contextmanager
def private_ray(data: Path, **resources: Any) -> Iterator[None]:
    """Run a Ray for the length of the block; ``data`` keeps a note of where its files are.

    ``resources`` are those of ``ray.init``: what tasks may take up, nothing that is reserved.
    """
    data.mkdir(parents=True, exist_ok=True)
    with short_folder(data) as folder:
        os.environ.pop("RAY_ADDRESS", None)
        os.environ.update(private_environment(folder))
        import ray  # reads its settings from the environment as it is imported

        ray.init(
            address="local",
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            _temp_dir=str(folder / "r"),
            _node_ip_address="127.0.0.1",
            namespace="serve",
            **resources,
        )
        try:
            yield
        finally:
            ray.shutdown()


@contextlib.contextmanager
def short_folder(data: Path) -> Iterator[Path]:
    """Make a folder with a short path and remove it afterwards, one that a kill left included."""
    note = data / "ray-folder"
    with contextlib.suppress(FileNotFoundError):
        left = Path(note.read_text())
        if left.name.startswith("sfumato-"):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix="sfumato-", dir="/tmp"))  # nosec B108 # made afresh, 0700
    note.write_text(str(folder))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        note.unlink(missing_ok=True)


def on_stop(act: Callable[[], None]) -> None:
    """Do this when SIGTERM or SIGINT comes."""
    for signum in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signum, lambda *_: act())


def leave() -> None:
    """End this process from wherever it is, cleaning up on the way. Raises: SystemExit."""
    on_stop(lambda: None)
    raise SystemExit(0)
