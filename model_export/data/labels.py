"""Labels and tags of emoji, from a folder or .tgz of npm's ``emojibase-data``."""

import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model_export.errors import DataError

LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Emoji:
    """One emoji and what people call it."""

    hexcode: str
    text: str  # the characters that a font draws
    group: int  # emojibase's: 0 smileys, 3 animals, 4 food, 6 activities …
    order: int  # Unicode's
    version: float  # of the Emoji standard that introduced it
    labels: dict[str, str]  # by language
    tags: dict[str, tuple[str, ...]]  # by language

    def texts(self) -> Iterator[str]:
        """Yield every label and tag."""
        yield from self.labels.values()
        for tags in self.tags.values():
            yield from tags

    def prompts(self) -> dict[str, str]:
        """Return the prompts that it is measured under: its labels, and three English tags."""
        tags = " ".join(self.tags["en"][:3]) or self.labels["en"]
        return {**{language: self.labels[language] for language in LANGUAGES}, "tags": tags}


def read_labels(source: Path) -> list[Emoji]:
    """Return every emoji that has a group and a label in all of :data:`LANGUAGES`.

    Skin tones, regional letters and other components have no group or are variants: they are left
    out.

    Raises:
        DataError: ``source`` is not a folder or archive of emojibase-data.
    """
    read = _from_folder(source) if source.is_dir() else _from_archive(source)
    tables = {language: _table(source, language, read) for language in LANGUAGES}
    emoji = [
        _emoji(hexcode, {language: tables[language][hexcode] for language in LANGUAGES})
        for hexcode, entry in tables["en"].items()
        if entry.get("group") is not None and all(hexcode in tables[x] for x in LANGUAGES)
    ]
    if not emoji:
        raise DataError(f"{source} labels no emoji in {' and '.join(LANGUAGES)}")
    return emoji


def _from_folder(source: Path) -> Callable[[str], bytes]:
    return lambda name: (source / name).read_bytes()


def _from_archive(source: Path) -> Callable[[str], bytes]:
    def read(name: str) -> bytes:
        with tarfile.open(source) as archive:
            member = archive.extractfile(f"package/{name}")
            if member is None:
                raise KeyError(name)
            return member.read()

    return read


def _table(source: Path, language: str, read: Callable[[str], bytes]) -> dict[str, dict[str, Any]]:
    try:
        entries = json.loads(read(f"{language}/data.json"))
        return {entry["hexcode"]: entry for entry in entries}
    except (OSError, KeyError, TypeError, ValueError, tarfile.TarError) as error:
        raise DataError(f"{source}: no usable {language}/data.json ({error})") from error


def _emoji(hexcode: str, entries: dict[str, dict[str, Any]]) -> Emoji:
    first = entries[LANGUAGES[0]]
    return Emoji(
        hexcode=hexcode,
        text=first["emoji"],
        group=first["group"],
        order=first["order"],
        version=float(first["version"]),
        labels={language: entry["label"] for language, entry in entries.items()},
        tags={language: tuple(entry.get("tags", ())) for language, entry in entries.items()},
    )
