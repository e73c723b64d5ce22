"""The fixed gallery that drawings are measured against, stored as two image sheets and a list."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from model_export.data.data import Dataset, Example, example_of
from model_export.data.labels import Emoji
from model_export.errors import GalleryError
from model_export.evaluation.measures import THUMBNAIL, thumbnails

EMOJI_GALLERY = Path(__file__).parent / "gallery"
COLUMNS = 24


@dataclass(frozen=True, eq=False)
class Gallery:
    """Reference images: thumbnails of every example, whole images of those trained on."""

    examples: tuple[Example, ...]
    thumbnails: NDArray[np.float32]  # (N, 768), 0..255
    trained: tuple[int, ...]  # indices of ``examples``
    images: NDArray[np.uint8]  # (M, side, side, 3), of ``trained`` in that order

    @property
    def custom(self) -> bool:
        """Whether it shows captioned images, not emoji."""
        return not any(isinstance(example, Emoji) for example in self.examples)

    def every(self, stride: int) -> "Gallery":
        """Return the same with each ``stride``-th of the trained examples."""
        return replace(self, trained=self.trained[::stride], images=self.images[::stride])

    def prompts(self, kind: str) -> list[str]:
        """Return the prompt of this kind of each trained example."""
        return [self.examples[i].prompts()[kind] for i in self.trained]


def make_gallery(dataset: Dataset, count: int) -> Gallery:
    """Return the gallery of a data set when ``count`` of its examples are trained on."""
    shown, trained = dataset.gallery(), dataset.trained(count)
    index = {id(example): i for i, example in enumerate(shown.examples)}
    small = thumbnails(shown.images).round()
    indices = tuple(index[id(example)] for example in trained.examples)
    return Gallery(shown.examples, small, indices, trained.images)


def save_gallery(gallery: Gallery, folder: Path) -> None:
    """Write the gallery, creating the folder if needed."""
    folder.mkdir(parents=True, exist_ok=True)
    small = gallery.thumbnails.astype(np.uint8).reshape(-1, THUMBNAIL, THUMBNAIL, 3)
    for name, images in (("thumbnails", small), ("pictures", gallery.images)):
        Image.fromarray(tile(images, COLUMNS)).save(folder / f"{name}.png", optimize=True)
    entries = [asdict(example) for example in gallery.examples]
    value = {"side": gallery.images.shape[1], "trained": gallery.trained, "emoji": entries}
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    (folder / "gallery.json").write_text(text.replace('},{"', '},\n{"') + "\n", "utf-8")


def load_gallery(folder: Path = EMOJI_GALLERY) -> Gallery:
    """Read a gallery.

    Raises:
        GalleryError: it is missing or broken.
    """
    try:
        value = json.loads((folder / "gallery.json").read_text("utf-8"))
        examples = tuple(example_of(entry) for entry in value["emoji"])
        trained = tuple(int(i) for i in value["trained"])
        small = _untile(folder / "thumbnails.png", THUMBNAIL, len(examples))
        images = _untile(folder / "pictures.png", int(value["side"]), len(trained))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise GalleryError(f"{folder} holds no usable gallery ({error})") from error
    return Gallery(examples, small.reshape(len(examples), -1).astype(np.float32), trained, images)


def tile(
    images: NDArray[np.uint8] | Sequence[NDArray[np.uint8]], columns: int
) -> NDArray[np.uint8]:
    """Return images (N, h, w, 3) as one sheet, row by row, white where there are none left."""
    given = np.asarray(images)
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
        raise ValueError(f"{path.name} holds {rows * columns} images, not {count}")
    return cells.reshape(-1, side, side, 3)[:count]
