"""Somebody's own pictures: a folder of them with captions becomes a data set."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rich.console import Console
from rich.progress import track

from model_export.caption_files import read_captions
from model_export.data import OWN, SIDE, Dataset, save_dataset
from model_export.errors import DataError
from model_export.labels import CAPTION, Emoji
from model_export.network import NetworkSettings

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
FORMATS = ("PNG", "JPEG", "WEBP")
OTHERS = (".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif")  # told of, not passed over
LARGEST = 100_000_000  # pixels of one picture; a small file can unfold to gigabytes


def command(
    folder: Annotated[Path, typer.Argument(help="PNG, JPEG or WebP pictures with captions.")],
    out: Annotated[Path, typer.Option(help="Where the data set goes.")] = Path("data"),
) -> None:
    """Make a data set of your own pictures: see docs/train-your-own.md."""
    console = Console(soft_wrap=True)
    watch = partial(track, description="reading", console=console, transient=True)
    dataset = read_pictures(folder, watch=watch)
    save_dataset(dataset, out)
    captions = sum(1 + len(emoji.tags[CAPTION]) for emoji in dataset.emoji)
    console.print(f"{len(dataset)} pictures, {captions} captions → {out}", highlight=False)


def read_pictures(
    folder: Path, side: int = SIDE, *, watch: Callable[[Sequence[str]], Iterable[str]] = iter
) -> Dataset:
    """Return the pictures in a folder and in the folders in it, by name; ``watch`` sees them go by.

    Raises:
        DataError: it names the file that cannot be used, and why.
    """
    names = _names(folder)
    captions = read_captions(folder, names)
    pictures = np.stack([read_picture(folder / name, side) for name in watch(names)])
    _check_variety(folder, pictures)
    entries = [_entry(place, name, captions[name]) for place, name in enumerate(names)]
    return Dataset(tuple(entries), pictures)


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    # A hidden file is no picture: a Mac leaves a "._cat.png" beside "cat.png".
    paths = [path for path in folder.rglob("*") if not path.name.startswith(".")]
    for path in paths:
        if path.suffix.lower() in OTHERS:
            raise DataError(f"{path} is not read: save it as {', '.join(FORMATS)}")
    names = [p.relative_to(folder).as_posix() for p in paths if p.suffix.lower() in SUFFIXES]
    if not names:
        raise DataError(f"{folder} holds no picture: {', '.join(FORMATS)} are read")
    return sorted(names)


def _entry(place: int, name: str, captions: Sequence[str]) -> Emoji:
    first, *others = captions
    return Emoji(
        hexcode=name,
        text="",
        group=OWN,
        order=place,
        version=0.0,
        labels={CAPTION: first},
        tags={CAPTION: tuple(others)},
    )


def read_picture(path: Path, side: int) -> NDArray[np.uint8]:
    """Return the middle square of a picture, upright and on white, (side, side, 3).

    Raises:
        DataError: it is broken, animated, of an unusual kind, or huge.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the size, which LARGEST bounds, and of odd EXIF
            with Image.open(path, formats=FORMATS) as image:
                return _square(path, image, side)
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} is larger than {LARGEST:,} pixels") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"{path} is broken or no {' or '.join(FORMATS)} ({error})") from error


def _square(path: Path, image: Image.Image, side: int) -> NDArray[np.uint8]:
    if image.width * image.height > LARGEST:
        raise DataError(f"{path} is {image.width}×{image.height}: more than {LARGEST:,} pixels")
    # A telephone's JPEG may hold a second picture behind the first: that is no animation.
    if getattr(image, "is_animated", False) and image.format in ("PNG", "WEBP"):
        raise DataError(f"{path} is animated: save one picture of it")
    if image.mode.startswith(("I", "F")):
        raise DataError(f"{path} has 16 bits or more a pixel's grey: save it with 8")
    image.draft(None, (4 * side, 4 * side))  # a large JPEG need not be decoded whole
    upright = ImageOps.exif_transpose(image)
    opaque = upright.convert("RGB") if upright.mode in ("CMYK", "YCbCr") else _on_white(upright)
    return np.asarray(ImageOps.fit(opaque, (side, side), Image.Resampling.LANCZOS))


def _on_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


def _check_variety(folder: Path, pictures: NDArray[np.uint8]) -> None:
    """Refuse pictures whose patches cannot have as many components as the codec keeps."""
    network = NetworkSettings()
    count, side = pictures.shape[:2]
    patch = side // network.sample_size
    grid = pictures.reshape(count, network.sample_size, patch, network.sample_size, patch, 3)
    patches = grid.swapaxes(2, 3).reshape(-1, patch * patch * 3)
    distinct: set[bytes] = set()
    for row in patches:
        distinct.add(row.tobytes())
        if len(distinct) > network.latent_channels:
            return
    raise DataError(
        f"the {count} pictures in {folder} have {len(distinct)} different {patch}×{patch} patches; "
        f"the codec needs more than {network.latent_channels}: add pictures, or more detail"
    )
