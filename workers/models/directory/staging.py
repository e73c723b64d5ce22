"""The models directory: a folder a model, and additions under way in ``.adding`` beside them.

An addition is made in a staging folder and put in place by a rename, so that whatever has a model's
name is complete. A model that is replaced lies in the staging folder for a moment; if the process
dies just then, the next command puts it back.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from diffusion.errors import BundleError
from jobs.host.models import INCLUDED, NAME, is_installed, is_name
from jobs.telemetry.text import shown

ADDING = ".adding"
FORMER = "former"  # of a staging folder: the model that is replaced or removed
REQUEST = "request.json"  # of a staging folder: what is being added


class Staging:
    """The folder in which one model is added; held by one process at a time."""

    def __init__(self, models: Path, name: str) -> None:
        self.name = name
        self.final = models / name
        self.folder = models / ADDING / name.lower()
        self.download = self.folder / "download"
        self.made = self.folder / "made" / name

    def begin(self, request: dict[str, str | None]) -> None:
        """Keep what an addition of the same source has downloaded, and nothing else."""
        if read_request(self.folder) != request:
            shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.made, ignore_errors=True)
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / REQUEST).write_text(json.dumps(request))

    def put_in_place(self) -> None:
        """Give the model its name, in the place of one that has it."""
        former = self.folder / FORMER
        if self.final.exists():
            self.final.rename(former)
        self.made.rename(self.final)
        sync_folder(self.final.parent)
        self.drop()

    def take_away(self) -> None:
        """Remove the model that has the name, and what is being added under it."""
        if is_installed(self.final):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.final.rename(self.folder / f"{FORMER}-removed")
        self.drop()

    def keep_download(self) -> None:
        """Remove all but what was downloaded, and the rest with it if that is nothing."""
        if any(path.is_file() for path in self.download.rglob("*")):
            shutil.rmtree(self.made, ignore_errors=True)
        else:
            self.drop()

    def drop(self) -> None:
        """Remove all that was downloaded and made."""
        shutil.rmtree(self.folder, ignore_errors=True)


def read_request(folder: Path) -> dict[str, str | None] | None:
    """Return what is being added in a staging folder, None if nothing is."""
    try:
        found: dict[str, str | None] = json.loads((folder / REQUEST).read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def unfinished(models: Path) -> dict[str, str]:
    """Return the sources of the additions that broke off or are under way, by name."""
    found = {}
    for folder in sorted((models / ADDING).glob("*")):
        if (request := read_request(folder)) is not None:
            found[str(request.get("name"))] = str(request.get("source"))
    return found


@contextmanager
def staged(models: Path, name: str) -> Iterator[Staging]:
    """Yield the staging folder of a name, locked.

    Raises:
        BundleError: another process adds or removes a model of this name.
    """
    staging = Staging(models, name)
    lock = staging.folder.with_name(f"{staging.folder.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        held = _lock(lock)
    except OSError as error:
        raise BundleError(f"cannot write into {models}: {error.strerror}") from error
    if held is None:
        raise BundleError(f"another process is adding or removing {name}")
    with held:
        _put_back(staging)
        try:
            yield staging
        finally:
            lock.unlink(missing_ok=True)
            with suppress(OSError):  # others are being added
                lock.parent.rmdir()


def _lock(path: Path) -> IO[str] | None:
    """Return the lock's open file, None if another process holds it."""
    while True:
        try:
            file = path.open("a")
        except FileNotFoundError:  # its folder has just been removed
            path.parent.mkdir(parents=True, exist_ok=True)
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            return None
        with suppress(FileNotFoundError):
            if os.stat(path).st_ino == os.fstat(file.fileno()).st_ino:
                return file
        file.close()  # the process that held it has removed it


def _put_back(staging: Staging) -> None:
    """Finish what a process that died was replacing or removing."""
    former = staging.folder / FORMER
    if former.exists() and not staging.final.exists():
        former.rename(staging.final)
    shutil.rmtree(former, ignore_errors=True)
    shutil.rmtree(staging.folder.joinpath(f"{FORMER}-removed"), ignore_errors=True)


def recover(models: Path) -> None:
    """Put back the models that a process was replacing when it died."""
    for former in (models / ADDING).glob(f"*/{FORMER}"):
        request = read_request(former.parent) or {}
        name = request.get("name")
        if name is not None and is_name(name):
            with suppress(BundleError), staged(models, name):
                pass


def check_free_name(models: Path, name: str, *, replace: bool) -> None:
    """Refuse a name that no model can be added under.

    Raises:
        BundleError: it is no name, or another model or file has it.
    """
    if not is_name(name):
        raise BundleError(
            f"{shown(name)!r} cannot be a model's name ({NAME}); give one with --name"
        )
    if name.lower() == INCLUDED:
        raise BundleError(f"{INCLUDED} is the included model; give another name with --name")
    same = [p for p in _entries(models) if p.name.lower() == name.lower()]
    for path in same:
        if path.name != name:
            raise BundleError(f"{path.name} is there, which differs from {name} by case alone")
        if not is_installed(path):
            raise BundleError(f"{path} is there, and no model that was added; move it away")
        if not replace:
            raise BundleError(f"{name} is installed; --replace replaces it, --name adds another")


def installed_folder(models: Path, name: str) -> Path:
    """Return the folder of an installed model.

    Raises:
        BundleError: there is none of this name.
    """
    if is_name(name) and is_installed(models / name):
        return models / name
    raise BundleError(f"no model {shown(name)!r} is installed in {models}")


def _entries(models: Path) -> list[Path]:
    try:
        return list(models.iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BundleError(f"{models}: {error.strerror}") from error


def sync_folder(folder: Path) -> None:
    """Let a rename in a folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
