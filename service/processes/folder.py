"""A folder to write into, checked before there is anything to write."""

import tempfile
from pathlib import Path

from jobs.errors import StartError


class UnusableFolder(StartError):
    """Nothing can be written into this folder; the message names it and says why."""


def usable_folder(folder: Path, mode: int = 0o777) -> Path:
    """Return the folder, made if necessary, once a file could be written in it.

    Raises:
        UnusableFolder: it is a file, or cannot be made or written.
    """
    try:
        folder.mkdir(mode=mode, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except FileExistsError as error:
        raise UnusableFolder(f"{folder} is not a folder") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UnusableFolder(f"cannot write into {folder}: {reason}") from error
