"""A data set, of emoji or of captioned images: ``pictures.npz`` beside ``emoji.json``."""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from model_export.data.font import EmojiFont
from model_export.data.labels import Emoji
from model_export.errors import DataError

SIDE = 64
SHOWN_CAPTIONS = 12  # the most example prompts of a model of a custom data set
SMILEYS, COMPONENTS, ANIMALS, FOOD, TRAVEL, ACTIVITIES, OBJECTS, FLAGS = 0, 2, 3, 4, 5, 6, 7, 9
# The order in which a model learns them. People differ too little, symbols mean too little.
TRAINED_GROUPS = ((ANIMALS, FOOD), (ACTIVITIES, SMILEYS), (OBJECTS, TRAVEL))


@dataclass(frozen=True)
class CaptionedImage:
    """An image of a custom data set."""

    name: str  # of its file
    captions: tuple[str, ...]

    def texts(self) -> Iterator[str]:
        """Yield every caption."""
        yield from self.captions

    def prompts(self) -> dict[str, str]:
        """Return the prompts that it is measured under: its first caption."""
        return {"caption": self.captions[0]}


Example = Emoji | CaptionedImage


@dataclass(frozen=True, eq=False)
class Dataset:
    """Examples of one kind and their images, in one order."""

    examples: tuple[Example, ...]
    images: NDArray[np.uint8]  # (N, side, side, 3)

    def __post_init__(self) -> None:
        """Refuse images that do not belong to the examples."""
        if len(self.examples) != len(self.images):
            raise DataError(f"{len(self.examples)} examples have {len(self.images)} images")

    def __len__(self) -> int:
        """Return N."""
        return len(self.examples)

    @cached_property
    def fingerprint(self) -> str:
        """16 hex digits over examples and pixels: equal data sets train equal models."""
        digest = hashlib.sha256(json.dumps([asdict(e) for e in self.examples]).encode())
        digest.update(np.ascontiguousarray(self.images).tobytes())
        return digest.hexdigest()[:16]

    @property
    def custom(self) -> bool:
        """Whether these are captioned images, not emoji."""
        return not self._emoji()

    def texts(self) -> Iterator[str]:
        """Yield every label, tag or caption, to train a tokenizer on."""
        for example in self.examples:
            yield from example.texts()

    def summary(self) -> dict[str, object]:
        """Return what a bundle records of a custom data set: its size, and some captions."""
        first = list(dict.fromkeys(next(example.texts()) for example in self.examples))
        return {
            "pictures": len(self),
            "captions": len(list(self.texts())),
            "examples": first[:: -(-len(first) // SHOWN_CAPTIONS)],
        }

    def subset(self, indices: Sequence[int]) -> "Dataset":
        """Return only these examples."""
        return Dataset(tuple(self.examples[i] for i in indices), self.images[list(indices)])

    def gallery(self) -> "Dataset":
        """Return all but flags and components: what a drawing is compared with."""
        left_out = {i for i, e in self._emoji().items() if e.group in (FLAGS, COMPONENTS)}
        return self.subset([i for i in range(len(self)) if i not in left_out])

    def trained(self, count: int) -> "Dataset":
        """Return the ``count`` examples to train on, of a custom data set the first by name.

        A small model draws few things well or many badly. Hearts of all colours come first, then
        group by group the oldest emoji, which are the best known.

        Raises:
            DataError: there are fewer.
        """
        chosen = self._by_priority()[:count]
        if len(chosen) < count:
            kind = "images" if self.custom else "emoji"
            raise DataError(f"there are {len(chosen)} {kind} to train on, not {count}")
        emoji = self._emoji()
        return self.subset(sorted(chosen, key=lambda i: emoji[i].order if emoji else i))

    def _emoji(self) -> dict[int, Emoji]:
        return {i: e for i, e in enumerate(self.examples) if isinstance(e, Emoji)}

    def _by_priority(self) -> list[int]:
        emoji = self._emoji()
        if not emoji:
            return list(range(len(self)))
        hearts = [i for i, e in emoji.items() if e.group == SMILEYS and "heart" in e.labels["en"]]
        ranked = list(hearts)
        for groups in TRAINED_GROUPS:
            things = [i for i, e in emoji.items() if e.group in groups and i not in hearts]
            ranked += sorted(things, key=lambda i: (emoji[i].version, emoji[i].order))
        return ranked


def build_dataset(emoji: Sequence[Emoji], font: EmojiFont, side: int = SIDE) -> Dataset:
    """Draw every emoji, leaving out those without a glyph of their own.

    Raises:
        DataError: the font draws none of them.
    """
    kept: list[Emoji] = []
    images: dict[bytes, NDArray[np.uint8]] = {}
    for item in emoji:
        image = font.draw(item.text, side)
        if image is None or image.tobytes() in images:
            continue
        images[image.tobytes()] = image
        kept.append(item)
    if not kept:
        raise DataError("the font draws none of these emoji")
    return Dataset(tuple(kept), np.stack(list(images.values())))


def save_dataset(dataset: Dataset, folder: Path) -> None:
    """Write the data set, both files or neither, creating the folder if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps([asdict(e) for e in dataset.examples], ensure_ascii=False, indent=1)
    with TemporaryDirectory(dir=folder, prefix=".new-") as fresh:
        np.savez_compressed(Path(fresh, "pictures.npz"), pictures=dataset.images)
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
            images = file["pictures"]
        entries = json.loads((folder / "emoji.json").read_text("utf-8"))
        examples = tuple(example_of(entry) for entry in entries)
    except (OSError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(f"{folder} holds no usable data set ({error})") from error
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise DataError(f"{folder}: images are {images.dtype} {images.shape}")
    return Dataset(examples, images)


def example_of(entry: dict[str, Any]) -> Example:
    """Return the example that ``asdict`` turned into ``entry``, after JSON."""
    if "captions" in entry:
        return CaptionedImage(entry["name"], tuple(entry["captions"]))
    labels, tags = entry["labels"], {k: tuple(v) for k, v in entry["tags"].items()}
    if "caption" in labels:  # captioned images used to be stored as emoji
        return CaptionedImage(entry["hexcode"], (labels["caption"], *tags["caption"]))
    return Emoji(**{**entry, "tags": tags})
