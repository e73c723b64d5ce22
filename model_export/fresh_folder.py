"""A folder that is made beside its place and takes the place once it is whole."""

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
    """Yield an empty folder that takes ``folder``'s place when the block ends well.

    Otherwise it is removed and ``folder`` stays as it was; what a killed process left of one is
    cleared by the next. ``ours`` says of a folder there, unless it is empty, that it may go.

    Raises:
        OutputError: there is something else at ``folder``, or another process is making it.
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
            _check(folder, place, ours)  # making it may have taken an hour
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
        raise OutputError(f"{folder} holds something else, which is not overwritten: name another")


@contextmanager
def _locked(fresh: Path, folder: Path) -> Iterator[None]:
    fresh.mkdir(parents=True, exist_ok=True)
    with (fresh / LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # The process that held it may have moved its folder on since this one opened it.
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
