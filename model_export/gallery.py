"""The fixed gallery that drawings are measured against, kept as two picture sheets and a list."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_export.data import Dataset, emoji_of
from model_export.errors import GalleryError
from model_export.labels import Emoji
from model_export.measures import THUMBNAIL, thumbnails

HERE = Path(__file__).parent / "gallery"
COLUMNS = 24


@dataclass(frozen=True, eq=False)
class Gallery:
    """Reference pictures: small ones of every emoji, whole ones of those a model was trained on."""

    emoji: tuple[Emoji, ...]
    thumbnails: NDArray[np.float32]  # (N, 768), 0..255
    trained: tuple[int, ...]  # places in ``emoji``
    pictures: NDArray[np.uint8]  # (M, side, side, 3), of ``trained`` in that order

    @property
    def own(self) -> bool:
        """Whether it shows somebody's own pictures, and no emoji."""
        return all(emoji.own for emoji in self.emoji)

    def every(self, stride: int) -> "Gallery":
        """Return the same with each ``stride``-th of the trained emoji."""
        pictures = self.pictures[::stride]
        return Gallery(self.emoji, self.thumbnails, self.trained[::stride], pictures)


def make_gallery(dataset: Dataset, count: int) -> Gallery:
    """Return the gallery of a data set of which ``count`` emoji are trained on."""
    shown, trained = dataset.gallery(), dataset.trained(count)
    place = {emoji.hexcode: i for i, emoji in enumerate(shown.emoji)}
    small = thumbnails(shown.pictures).round()
    return Gallery(
        shown.emoji, small, tuple(place[e.hexcode] for e in trained.emoji), trained.pictures
    )


def save_gallery(gallery: Gallery, folder: Path) -> None:
    """Write the gallery; its folder is made."""
    folder.mkdir(parents=True, exist_ok=True)
    side = THUMBNAIL
    small = gallery.thumbnails.astype(np.uint8).reshape(-1, side, side, 3)
    for name, pictures in (("thumbnails", small), ("pictures", gallery.pictures)):
        Image.fromarray(tile(pictures, COLUMNS)).save(folder / f"{name}.png", optimize=True)
    entries = [asdict(emoji) for emoji in gallery.emoji]
    value = {"side": gallery.pictures.shape[1], "trained": gallery.trained, "emoji": entries}
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    (folder / "gallery.json").write_text(text.replace('},{"hex', '},\n{"hex') + "\n", "utf-8")


def load_gallery(folder: Path = HERE) -> Gallery:
    """Read a gallery.

    Raises:
        GalleryError: it is missing or broken.
    """
    try:
        value = json.loads((folder / "gallery.json").read_text("utf-8"))
        emoji = tuple(emoji_of(entry) for entry in value["emoji"])
        trained = tuple(int(i) for i in value["trained"])
        small = _untile(folder / "thumbnails.png", THUMBNAIL, len(emoji))
        pictures = _untile(folder / "pictures.png", int(value["side"]), len(trained))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise GalleryError(f"{folder} holds no usable gallery ({error})") from error
    return Gallery(emoji, small.reshape(len(emoji), -1).astype(np.float32), trained, pictures)


def tile(
    pictures: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], columns: int
) -> NDArray[np.uint8]:
    """Return pictures (N, h, w, 3) as one sheet, row by row, white where there is none."""
    given = np.asarray(pictures)
    rows = -(-len(given) // columns)
    blank = np.full((rows * columns, *given.shape[1:]), 255, np.uint8)
    blank[: len(given)] = given
    height, width = given.shape[1:3]
    grid = blank.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return grid.reshape(rows * height, columns * width, 3)


def _untile(path: Path, side: int, count: int) -> NDArray[np.uint8]:
    with Image.open(path) as image:
        sheet = np.asarray(image.convert("RGB"))
    rows, columns = sheet.shape[0] // side, sheet.shape[1] // side
    cells = sheet.reshape(rows, side, columns, side, 3).swapaxes(1, 2)
    if rows * columns < count:
        raise ValueError(f"{path.name} holds {rows * columns} pictures, not {count}")
    return cells.reshape(-1, side, side, 3)[:count]
