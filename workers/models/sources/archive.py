"""Unpacks a tar archive of one model's folder."""

import shutil
import tarfile
from pathlib import Path

from diffusion.errors import BundleError
from diffusion.files import check_files
from workers.models.directory.errors import is_full


def unpack(archive: Path, folder: Path) -> None:
    """Unpack without links, devices or paths out of the folder; an outer folder is stripped.

    Raises:
        BundleError: the archive is damaged, or holds what no model may.
    """
    inside = folder.with_name(folder.name + ".unpacking")
    shutil.rmtree(inside, ignore_errors=True)
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(inside, filter="data")
        only = list(inside.iterdir())
        (only[0] if len(only) == 1 and only[0].is_dir() else inside).rename(folder)
    except (tarfile.TarError, OSError, EOFError) as error:
        if is_full(error):
            raise
        raise BundleError(f"the archive cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(inside, ignore_errors=True)
    check_files(folder)
