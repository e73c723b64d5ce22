"""Fetches a worker's weights: ``python -m workers.weights fetch URL FOLDER --sha256 …``.

``fetch`` downloads a tar archive and unpacks it if its sha256 matches; ``check`` compares a folder
with the digest of a model's files. Both run before a worker starts.
"""

import argparse
import hashlib
import os
import shutil
import sys
import tarfile
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

from diffusion.errors import BundleError
from diffusion.files import check_files, digest

CHUNK_BYTES = 1024 * 1024
TIMEOUT_S = 60  # without a byte
SCHEMES = ("https://", "http://", "file://")
NOTE = ".sha256"
"""Suffix of the file beside an unpacked folder with the digest of its archive."""


def fetch(url: str, folder: Path, sha256: str) -> None:
    """Unpack the archive into ``folder``, unless that has been done already.

    Raises:
        BundleError: it cannot be downloaded, is another archive, or holds files no bundle may.
    """
    note = folder.with_name(folder.name + NOTE)
    if note.exists() and note.read_text() == sha256:
        return
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    archive = folder.with_name(folder.name + ".part")
    try:
        _download(url, archive, sha256)
        _unpack(archive, folder)
        check_files(folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        archive.unlink(missing_ok=True)
    note.write_text(sha256)


def _download(url: str, archive: Path, sha256: str) -> None:
    if not url.startswith(SCHEMES):
        raise BundleError(f"{url} is none of {', '.join(SCHEMES)}")
    try:
        with urlopen(url, timeout=TIMEOUT_S) as source, archive.open("wb") as target:  # nosec B310
            found = _copy(source, target)
    except (URLError, OSError) as error:
        raise BundleError(f"{url}: {error}") from error
    if found != sha256:
        raise BundleError(f"{url} has sha256 {found}, not {sha256}")


def _copy(source: IO[bytes], target: IO[bytes]) -> str:
    total = hashlib.sha256()
    while chunk := source.read(CHUNK_BYTES):
        total.update(chunk)
        target.write(chunk)
    target.flush()
    os.fsync(target.fileno())
    return total.hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack without links, devices or paths out of the folder; an outer folder is stripped."""
    inside = folder.with_name(folder.name + ".unpacking")
    shutil.rmtree(inside, ignore_errors=True)
    try:
        with tarfile.open(archive) as opened:
            opened.extractall(inside, filter="data")
        only = list(inside.iterdir())
        (only[0] if len(only) == 1 and only[0].is_dir() else inside).rename(folder)
    except (tarfile.TarError, OSError) as error:
        raise BundleError(f"the archive cannot be unpacked: {error}") from error
    finally:
        shutil.rmtree(inside, ignore_errors=True)


def check(folder: Path, sha256: str) -> None:
    """Compare a folder with the digest of a model's files.

    Raises:
        BundleError: it is another model, or not a bundle.
    """
    check_files(folder)
    found = digest(folder)
    if found != sha256:
        raise BundleError(f"{folder} has sha256 {found}, not {sha256}")


def main(arguments: list[str]) -> int:
    """Fetch or check; return 0 if the weights are the expected ones."""
    parser = argparse.ArgumentParser(prog="python -m workers.weights", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    fetching = verbs.add_parser("fetch", help="download and unpack a tar archive")
    fetching.add_argument("url")
    checking = verbs.add_parser("check", help="compare a folder of weights")
    for verb in (fetching, checking):
        verb.add_argument("folder", type=Path)
    fetching.add_argument("--sha256", required=True, help="of the archive")
    checking.add_argument("--sha256", help="of the model's files; left out: print it")
    given = parser.parse_args(arguments)
    try:
        if given.verb == "fetch":
            fetch(given.url, given.folder, given.sha256)
        elif given.sha256 is not None:
            check(given.folder, given.sha256)
        print(f"{given.folder}: {digest(given.folder)}")
    except BundleError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
