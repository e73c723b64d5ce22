"""The data set: emoji, or own pictures, one ``pictures.npz`` beside one ``emoji.json``."""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from model_export.errors import DataError
from model_export.font import EmojiFont
from model_export.labels import CAPTION, Emoji

SIDE = 64
EXAMPLES = 12  # captions that a model of own pictures shows off, at most
OWN = -1  # the group of somebody's own pictures; the others are emojibase's
SMILEYS, COMPONENTS, ANIMALS, FOOD, TRAVEL, ACTIVITIES, OBJECTS, FLAGS = 0, 2, 3, 4, 5, 6, 7, 9
# What a model learns first; people differ too little and symbols mean too little to be among them.
TRAINED_GROUPS = ((ANIMALS, FOOD), (ACTIVITIES, SMILEYS), (OBJECTS, TRAVEL))


@dataclass(frozen=True, eq=False)
class Dataset:
    """Emoji and their pictures, in one order."""

    emoji: tuple[Emoji, ...]
    pictures: NDArray[np.uint8]  # (N, side, side, 3)

    def __post_init__(self) -> None:
        """Refuse pictures that do not belong to the emoji."""
        if len(self.emoji) != len(self.pictures):
            raise DataError(f"{len(self.emoji)} emoji have {len(self.pictures)} pictures")

    def __len__(self) -> int:
        """Return N."""
        return len(self.emoji)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over labels and pixels: equal data sets train equal models."""
        digest = hashlib.sha256(json.dumps([asdict(e) for e in self.emoji]).encode())
        digest.update(np.ascontiguousarray(self.pictures).tobytes())
        return digest.hexdigest()[:16]

    @property
    def own(self) -> bool:
        """Whether these are somebody's own pictures, and no emoji."""
        return all(emoji.own for emoji in self.emoji)

    def texts(self) -> Iterator[str]:
        """Yield every label and tag, for training a tokenizer."""
        for emoji in self.emoji:
            yield from emoji.labels.values()
            for tags in emoji.tags.values():
                yield from tags

    def summary(self) -> dict[str, object]:
        """Return what a bundle tells of own pictures: how many, and some of their captions."""
        first = list(dict.fromkeys(emoji.labels[CAPTION] for emoji in self.emoji))
        return {
            "pictures": len(self),
            "captions": len(list(self.texts())),
            "examples": first[:: -(-len(first) // EXAMPLES)],
        }

    def subset(self, indices: Sequence[int]) -> "Dataset":
        """Return these emoji alone."""
        return Dataset(tuple(self.emoji[i] for i in indices), self.pictures[list(indices)])

    def gallery(self) -> "Dataset":
        """Return all but flags and components: what a drawing is compared with."""
        return self.subset(
            [i for i, e in enumerate(self.emoji) if e.group not in (FLAGS, COMPONENTS)]
        )

    def trained(self, count: int) -> "Dataset":
        """Return the ``count`` emoji to train on: hearts of all colours, then group by group.

        Of somebody's own pictures it is the first by name.

        A small model draws few things well or many badly; the oldest emoji are the best known, so
        they come first in each group.

        Raises:
            DataError: there are not that many.
        """
        chosen = [i for i, e in enumerate(self.emoji) if e.own or _is_heart(e)]
        for groups in TRAINED_GROUPS:
            things = [i for i, e in enumerate(self.emoji) if e.group in groups]
            things.sort(key=lambda i: (self.emoji[i].version, self.emoji[i].order))
            chosen += [i for i in things if not _is_heart(self.emoji[i])]
        chosen = chosen[:count]
        if len(chosen) < count:
            kind = "pictures" if self.own else "emoji"
            raise DataError(f"there are {len(chosen)} {kind} to train on, not {count}")
        return self.subset(sorted(chosen, key=lambda i: self.emoji[i].order))


def _is_heart(emoji: Emoji) -> bool:
    return emoji.group == SMILEYS and "heart" in emoji.labels["en"]


def build_dataset(emoji: Sequence[Emoji], font: EmojiFont, side: int = SIDE) -> Dataset:
    """Draw every emoji; those without one glyph, or with another's picture, are left out.

    Raises:
        DataError: the font draws none of them.
    """
    kept: list[Emoji] = []
    pictures: dict[bytes, NDArray[np.uint8]] = {}
    for item in emoji:
        picture = font.draw(item.text, side)
        if picture is None or picture.tobytes() in pictures:
            continue
        pictures[picture.tobytes()] = picture
        kept.append(item)
    if not kept:
        raise DataError("the font draws none of these emoji")
    return Dataset(tuple(kept), np.stack(list(pictures.values())))


def save_dataset(dataset: Dataset, folder: Path) -> None:
    """Write the data set, both files whole or neither; its folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(e) for e in dataset.emoji], ensure_ascii=False, indent=1)
    with TemporaryDirectory(dir=folder, prefix=".new-") as fresh:
        np.savez_compressed(Path(fresh, "pictures.npz"), pictures=dataset.pictures)
        Path(fresh, "emoji.json").write_text(text + "\n", "utf-8")
        for name in ("pictures.npz", "emoji.json"):
            Path(fresh, name).replace(folder / name)


def load_dataset(folder: Path) -> Dataset:
    """Read a data set.

    Raises:
        DataError: it is missing or broken.
    """
    try:
        with np.load(folder / "pictures.npz", allow_pickle=False) as file:
            pictures = file["pictures"]
        entries = json.loads((folder / "emoji.json").read_text("utf-8"))
        emoji = tuple(emoji_of(entry) for entry in entries)
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{folder} holds no usable data set ({error})") from error
    if pictures.dtype != np.uint8 or pictures.ndim != 4 or pictures.shape[-1] != 3:
        raise DataError(f"{folder}: pictures are {pictures.dtype} {pictures.shape}")
    return Dataset(emoji, pictures)


def emoji_of(entry: dict[str, object]) -> Emoji:
    """Return the emoji that ``asdict`` made ``entry`` of, after JSON."""
    tags = entry["tags"]
    assert isinstance(tags, dict)
    return Emoji(**{**entry, "tags": {k: tuple(v) for k, v in tags.items()}})  # type: ignore[arg-type]
