"""What was added, file by file: the pin that ``check`` compares a model with."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from diffusion.errors import BundleError
from diffusion.files import read_json, shown_name
from jobs.host.models import RECORD

EDITABLE = "sfumato.json"
"""Its defaults and limits are the operator's to change."""
LISTS = ("options", "loras", "notes")
OWN_EXPORTS = "onnx/"
"""Exports are made later, and their manifests hold their own digests."""


@dataclass(frozen=True)
class Pin:
    """A file as it was added."""

    size: int  # bytes
    sha256: str


@dataclass(frozen=True)
class Record:
    """Where a model came from, what was done to it, and what it then was."""

    source: str
    sha256: str  # the model's: diffusion.files.digest
    added_at: str  # UTC
    files: Mapping[str, Pin]
    revision: str | None = None  # the hub's commit
    source_sha256: str | None = None  # of the file or archive that was added
    vae: str | None = None
    options: tuple[str, ...] = ()  # of the command, that change what it is
    loras: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default_factory=tuple)


def pins(folder: Path) -> dict[str, Pin]:
    """Return the size and sha256 of every file of a model but its record."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and name != RECORD:
            found[name] = pin(path)
    return found


def pin(path: Path) -> Pin:
    """Return the size and sha256 of a file."""
    with path.open("rb") as file:
        return Pin(path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest())


def write_record(folder: Path, record: Record) -> None:
    """Write a model's record into its folder."""
    (folder / RECORD).write_text(json.dumps(asdict(record), indent=1) + "\n")


def read_record(folder: Path) -> Record:
    """Return a model's record.

    Raises:
        BundleError: it is missing or damaged.
    """
    value: dict[str, Any] = read_json(folder / RECORD)
    try:
        files = {str(name): Pin(**pin) for name, pin in value.pop("files").items()}
        value |= {key: tuple(map(str, value.get(key, ()))) for key in LISTS}
        return Record(files=files, **value)
    except (TypeError, KeyError, AttributeError) as error:
        raise BundleError(f"{folder.name}/{RECORD} is not a record: {error}") from error


def differences(folder: Path, record: Record) -> list[str]:
    """Return how a model's files differ from what was added, in words; none if they do not."""
    found = []
    here = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    for name, wanted in record.files.items():
        if name == EDITABLE or (name.startswith(OWN_EXPORTS) and name not in here):
            continue
        if name not in here:
            found.append(f"{shown_name(name)} is missing")
        elif here[name].stat().st_size != wanted.size:
            found.append(f"{shown_name(name)} has changed in size")
        elif (sha256 := pin(here[name]).sha256) != wanted.sha256:
            found.append(f"{shown_name(name)} has sha256 {sha256}, not {wanted.sha256}")
    added = {RECORD, EDITABLE}
    for name in here.keys() - record.files.keys() - added:
        if not name.startswith(OWN_EXPORTS):
            found.append(f"{shown_name(name)} was not added with it")
    return found
