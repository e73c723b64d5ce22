"""A custom data set from a folder of images with captions."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image, ImageOps
from rich.progress import Progress

from diffusion.codec import LATENT_CHANNELS, PATCH_SIZE
from model_export.data.caption_files import read_captions
from model_export.data.data import SIDE, CaptionedImage, Dataset, save_dataset
from model_export.errors import DataError
from model_export.terminal import plain_console

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
FORMATS = ("PNG", "JPEG", "WEBP")
OTHERS = (".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif")  # refused, not skipped
LARGEST = 100_000_000  # pixels; a small file can unpack to gigabytes


def command(
    folder: Annotated[Path, typer.Argument(help="PNG, JPEG or WebP images with captions.")],
    out: Annotated[Path, typer.Option(help="Where the data set goes.")] = Path("data"),
) -> None:
    """Make a custom data set from images and captions; see docs/train-your-own.md."""
    console = plain_console()
    with Progress(console=console, transient=True, auto_refresh=False) as bar:
        dataset = read_images(folder, watch=partial(bar.track, description="reading"))
    save_dataset(dataset, out)
    captions = len(list(dataset.texts()))
    console.print(f"{len(dataset)} images, {captions} captions → {out}")


def read_images(
    folder: Path, side: int = SIDE, *, watch: Callable[[Sequence[str]], Iterable[str]] = iter
) -> Dataset:
    """Return the images in a folder and its subfolders, by name; ``watch`` follows the progress.

    Raises:
        DataError: a file cannot be used; the message names it and says why.
    """
    names = _names(folder)
    captions = read_captions(folder, names)
    images = np.stack([read_image(folder / name, side) for name in watch(names)])
    _check_variety(folder, images)
    return Dataset(tuple(CaptionedImage(name, captions[name]) for name in names), images)


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder")
    # Hidden files are not images: a Mac leaves a "._cat.png" beside "cat.png".
    paths = [path for path in folder.rglob("*") if not path.name.startswith(".")]
    for path in paths:
        if path.suffix.lower() in OTHERS:
            raise DataError(f"{path} is not read: save it as {', '.join(FORMATS)}")
    names = [p.relative_to(folder).as_posix() for p in paths if p.suffix.lower() in SUFFIXES]
    if not names:
        raise DataError(f"{folder} holds no image: {', '.join(FORMATS)} are read")
    return sorted(names)


def read_image(path: Path, side: int) -> NDArray[np.uint8]:
    """Return the middle square of an image, upright and on white, (side, side, 3).

    Raises:
        DataError: it is broken, animated, deeper than 8 bits, or huge.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about sizes, which LARGEST bounds, and odd EXIF
            with Image.open(path, formats=FORMATS) as image:
                return _square(path, image, side)
    except Image.DecompressionBombError as error:
        raise DataError(f"{path} is larger than {LARGEST:,} pixels") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        raise DataError(f"{path} is broken or no {' or '.join(FORMATS)} ({error})") from error


def _square(path: Path, image: Image.Image, side: int) -> NDArray[np.uint8]:
    if image.width * image.height > LARGEST:
        raise DataError(f"{path} is {image.width}×{image.height}: more than {LARGEST:,} pixels")
    # A phone's JPEG may hold a second image after the first, which is not an animation.
    if getattr(image, "is_animated", False) and image.format in ("PNG", "WEBP"):
        raise DataError(f"{path} is animated: save a single frame")
    if image.mode.startswith(("I", "F")):
        raise DataError(f"{path} has 16 bits or more per channel: save it with 8")
    image.draft(None, (4 * side, 4 * side))  # a large JPEG need not be decoded in full
    upright = ImageOps.exif_transpose(image)
    opaque = upright.convert("RGB") if upright.mode in ("CMYK", "YCbCr") else _on_white(upright)
    return np.asarray(ImageOps.fit(opaque, (side, side), Image.Resampling.LANCZOS))


def _on_white(image: Image.Image) -> Image.Image:
    layer = image.convert("RGBA")
    white = Image.new("RGBA", layer.size, "white")
    return Image.alpha_composite(white, layer).convert("RGB")


def _check_variety(folder: Path, images: NDArray[np.uint8]) -> None:
    """Refuse images whose patches have fewer components than the codec keeps."""
    count, size = images.shape[1] // PATCH_SIZE, PATCH_SIZE
    grid = images.reshape(-1, count, size, count, size, 3)
    distinct: set[bytes] = set()
    for patch in grid.swapaxes(2, 3).reshape(-1, size * size * 3):
        distinct.add(patch.tobytes())
        if len(distinct) > LATENT_CHANNELS:
            return
    raise DataError(
        f"the {len(images)} images in {folder} have {len(distinct)} different {size}×{size} "
        f"patches; the codec needs more than {LATENT_CHANNELS}: add images, or more detail"
    )
