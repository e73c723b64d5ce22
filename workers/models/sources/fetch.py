"""Brings a source's files into the staging folder: a model's folder, or a file to convert."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffusion.errors import BundleError
from diffusion.files import INDEX, read_json
from workers.models.directory.addition import Addition
from workers.models.directory.errors import is_full, size
from workers.models.directory.record import pin
from workers.models.directory.staging import Staging
from workers.models.sources.archive import unpack
from workers.models.sources.copying import copy_files, listed
from workers.models.sources.download import Wanted, check_space, download, web_client
from workers.models.sources.magic import is_weights
from workers.models.sources.preview import refuse_by_configuration
from workers.models.sources.selection import Selection, select
from workers.models.sources.source import Hub, Local, Source, Web, check_suffix

Say = Callable[[str], None]
FILE = "file"


@dataclass(frozen=True)
class Fetched:
    """What a source gave: the model's folder is made, or ``single`` is to be converted into it."""

    notes: tuple[str, ...] = ()
    single: Path | None = None
    revision: str | None = None  # the hub's commit
    sha256: str | None = None  # of the one file or archive


def fetch(staging: Staging, source: Source, asked: Addition, say: Say) -> Fetched:
    """Bring a source's files.

    Raises:
        Interrupted: the source is gone; the same call resumes.
        BundleError: it is not there, of another sha256, or of a format that is not served.
    """
    if isinstance(source, Hub):
        return _from_hub(staging, source, asked, say)
    if isinstance(source, Web):
        return _from_web(staging, source, asked, say)
    return _from_path(staging, source, asked)


def _from_path(staging: Staging, source: Local, asked: Addition) -> Fetched:
    path = source.path
    if path.is_dir():
        chosen = _selected(listed(path), _index(path, source.said), asked)
        copy_files(path, staging.made, chosen.files)
        return Fetched(chosen.notes)
    if not path.is_file():
        raise BundleError(f"{path} is not there")
    check_suffix(path.name, str(path))
    return _of_file(staging, path, asked, str(path))


def _of_file(staging: Staging, file: Path, asked: Addition, said: str) -> Fetched:
    """Unpack an archive, or return the checkpoint that a file is."""
    weights = is_weights(file, said)
    found = pin(file).sha256
    if asked.sha256 not in (None, found):
        raise BundleError(f"{said} has sha256 {found}, not {asked.sha256}")
    if weights:
        return Fetched(single=file, sha256=found)
    folder = staging.folder / "unpacked"
    shutil.rmtree(folder, ignore_errors=True)
    unpack(file, folder)
    chosen = _selected(listed(folder), _index(folder, said), asked)
    staging.made.mkdir(parents=True)
    for name in chosen.files:
        target = staging.made / name
        target.parent.mkdir(parents=True, exist_ok=True)
        (folder / name).rename(target)
    shutil.rmtree(folder)
    return Fetched(chosen.notes, sha256=found)


def _from_web(staging: Staging, source: Web, asked: Addition, say: Say) -> Fetched:
    target = staging.download / FILE
    target.parent.mkdir(exist_ok=True)
    say(f"downloading {source.said}")
    with web_client() as client:
        wanted = Wanted(source.said, sha256=asked.sha256)
        download(client, source.url, target, wanted, {}, say)
    return _of_file(staging, target, asked, source.said)


def _from_hub(staging: Staging, source: Hub, asked: Addition, say: Say) -> Fetched:
    from workers.models.sources.hub import Listing, fetch, list_files

    listing: Listing = list_files(source)
    folder = staging.download / listing.commit
    for other in staging.download.glob("*"):
        if other != folder:  # of a commit that the revision no longer names
            shutil.rmtree(other)
    folder.mkdir(parents=True, exist_ok=True)

    def bring(files: list[str]) -> None:
        needed = [f for f in files if not (folder / f).exists()]
        if not needed:
            return
        total = sum(listing.files[f].size for f in needed)
        check_space(folder, total, source.said)
        say(f"downloading {len(needed)} files of {source.said}, {size(total)}")
        for file in needed:
            fetch(listing, file, folder / file, say)

    if source.file is not None:
        _check_listed(source.file, listing.files, source)
        bring([source.file])
        single = _of_file(staging, folder / source.file, asked, source.said)
        return Fetched(single.notes, single.single, listing.commit, single.sha256)
    _check_listed(INDEX, listing.files, source)
    bring([INDEX])
    chosen = _selected(listing.files, _index(folder, source.said), asked)
    _check_lacks(chosen, asked, source)
    weights = [f for f in chosen.files if f.endswith(".safetensors")]
    bring([f for f in chosen.files if f not in weights])
    if asked.tried:
        refuse_by_configuration(folder, weights)
    bring(weights)
    _link(folder, staging.made, chosen.files)
    return Fetched(chosen.notes, revision=listing.commit)


def _link(folder: Path, made: Path, files: Sequence[str]) -> None:
    """Give what was downloaded a second name, so that the download outlives a refusal."""
    try:
        for name in files:
            target = made / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.hardlink_to(folder / name)
    except OSError as error:  # a file system without hard links
        if is_full(error):
            raise
        shutil.rmtree(made)
        copy_files(folder, made, files)


def _check_lacks(chosen: Selection, asked: Addition, source: Hub) -> None:
    """Refuse what lacks a part before the others are downloaded."""
    lacks = [part for part in chosen.missing if asked.vae is None or not part.startswith("vae")]
    if lacks:
        advice = ": give one with --vae" if lacks[0].startswith("vae") else ""
        raise BundleError(f"{source.said} lacks {'; '.join(lacks)}{advice}")


def _check_listed(file: str, files: Any, source: Hub) -> None:
    if file in files:
        return
    single = sorted(f for f in files if f.endswith(".safetensors") and "/" not in f)
    advice = f"; it holds {', '.join(single[:3])}: hf:{source.repo}/FILE adds one" if single else ""
    raise BundleError(f"{source.said} has no {file}{advice}")


def _index(folder: Path, said: str) -> dict[str, Any]:
    if not (folder / INDEX).is_file():
        single = sorted(p.name for p in folder.glob("*.safetensors"))
        advice = f"; add one of its files: {', '.join(single[:3])}" if single else ""
        raise BundleError(f"{said} has no {INDEX}{advice}")
    return read_json(folder / INDEX)


def _selected(files: Any, index: dict[str, Any], asked: Addition) -> Selection:
    return select(files, index, asked.variant)
