"""A folder that is written next to its final path and moved there once complete."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from model_export.errors import OutputError

LOCK = ".lock"


@contextmanager
def fresh_folder(folder: Path, ours: Callable[[Path], bool] = lambda _: True) -> Iterator[Path]:
    """Yield an empty folder that replaces ``folder`` if the block succeeds.

    Otherwise it is removed and ``folder`` is unchanged; what a killed process left is removed by
    the next call. ``ours`` returns whether a non-empty ``folder`` may be replaced.

    Raises:
        OutputError: ``folder`` may not be replaced, or another process is writing it.
    """
    place = folder.resolve()
    _check(folder, place, ours)
    fresh = place.with_name(f".{place.name}.new")
    alone = not place.parent.exists()
    with _locked(fresh, folder):
        for path in fresh.iterdir():
            if path.name != LOCK:
                _remove(path)
        try:
            yield fresh
            _check(folder, place, ours)  # filling it may have taken an hour
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            if alone:
                with suppress(OSError):
                    place.parent.rmdir()
            raise
        _exchange(fresh, place)


def _check(folder: Path, place: Path, ours: Callable[[Path], bool]) -> None:
    if not place.exists():
        return
    if not place.is_dir() or (any(place.iterdir()) and not ours(place)):
        raise OutputError(
            f"{folder} holds something else, which is not overwritten: choose another"
        )


@contextmanager
def _locked(fresh: Path, folder: Path) -> Iterator[None]:
    fresh.mkdir(parents=True, exist_ok=True)
    with (fresh / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The process that held the lock may have moved its folder since we opened the file.
            mine = os.path.samestat(os.fstat(lock.fileno()), (fresh / LOCK).stat())
        except (BlockingIOError, FileNotFoundError):
            mine = False
        if not mine:
            raise OutputError(f"{folder} is being made by another process")
        yield


def _exchange(fresh: Path, place: Path) -> None:
    former = place.with_name(f".{place.name}.old")
    _remove(former)
    if place.exists():
        place.rename(former)
    fresh.rename(place)
    (place / LOCK).unlink()
    _remove(former)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
