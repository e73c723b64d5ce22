"""The files that images are saved in: named after what made them, and never overwritten."""

import os
import re
import unicodedata
from itertools import count
from pathlib import Path

from service.client.errors import ClientError
from service.client.views import ImageView, JobView

EXTENSIONS = {
    "image/png": "png", "image/webp": "webp", "image/jpeg": "jpg", "image/avif": "avif",
}  # fmt: skip
PROMPT_BYTES = 60
PART_BYTES = 64  # of a name that the service sent; file systems allow 255 in all


class NotSaved(ClientError):
    """An image cannot be written to its file."""


def save(folder: Path, job: JobView, image: ImageView, data: bytes) -> Path:
    """Write an image to a new file; return its path. Raises: NotSaved."""
    extension = EXTENSIONS.get(image.content_type, "bin")
    try:
        return create(folder / f"{picture_name(job, image)}.{extension}", data)
    except OSError as error:
        detail = f"cannot write to {folder}: {error.strerror}"
        raise NotSaved(f"{detail}; the service still has the image at {image.url}") from error


def picture_name(job: JobView, image: ImageView) -> str:
    """Return the prompt, the seed, the sampler, the steps and the model, as part of a file name."""
    request = job.request
    parts = [slug(request.prompt, PROMPT_BYTES), str(image.seed)]
    parts += [slug(request.sampler, PART_BYTES), str(request.num_inference_steps)]
    parts += [slug(request.model, PART_BYTES)]
    if request.num_images > 1:
        parts.append(str(image.index))
    return "-".join(parts)


def slug(text: str, most_bytes: int) -> str:
    """Return the words of a text for a file name, which the file system has to be able to store."""
    words = re.sub(r"[^\w]+", "-", unicodedata.normalize("NFC", text.lower()))
    try:
        os.fsencode(words)
    except UnicodeEncodeError:
        words = re.sub(r"[^a-z0-9_]+", "-", words)
    cut = words.strip("-_").encode()[:most_bytes].decode(errors="ignore")
    return cut.strip("-_") or "picture"


def create(path: Path, data: bytes) -> Path:
    """Write a new file, ``name-2.png`` if there is a ``name.png``; return its path.

    Raises:
        OSError: it cannot be written; then it does not exist.
    """
    for number in count(1):
        chosen = path if number == 1 else path.with_name(f"{path.stem}-{number}{path.suffix}")
        try:
            file = chosen.open("xb")
        except FileExistsError:
            continue
        try:
            with file:
                file.write(data)
        except OSError:
            chosen.unlink(missing_ok=True)
            raise
        return chosen
    raise AssertionError("a number is free")
