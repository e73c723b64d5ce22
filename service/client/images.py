"""Finished images: their bytes, saving them, and showing them in notebooks."""

import base64
import html
from dataclasses import dataclass
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import JobFailed
from .views import ImageView, JobView

if TYPE_CHECKING:
    import PIL.Image


@dataclass(frozen=True, repr=False)
class Image:
    """A finished image: the bytes of its file, and a ``view`` with its seed, size and type."""

    view: ImageView
    data: bytes

    def save(self, path: str | PathLike[str]) -> Path:
        """Write the file, overwriting any of this name; return its path. Raises: OSError."""
        written = Path(path)
        written.write_bytes(self.data)
        return written

    def pil(self) -> "PIL.Image.Image":
        """Return the image decoded by Pillow. Raises: ImportError, Pillow is not installed."""
        import PIL.Image

        return PIL.Image.open(BytesIO(self.data))

    def __repr__(self) -> str:
        view = self.view
        size = f"{view.width}x{view.height} {view.content_type}, {len(self.data)} bytes"
        return f"<Image {view.index}, seed {view.seed}, {size}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        data = base64.b64encode(self.data).decode()
        return {"text/plain": repr(self), self.view.content_type: data}


@dataclass(frozen=True, repr=False)
class Result:
    """A job and its images."""

    job: JobView
    images: tuple[Image, ...]

    def __repr__(self) -> str:
        return f"<Result of job {self.job.id}: {', '.join(map(repr, self.images))}>"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        if len(self.images) == 1:
            return self.images[0]._repr_mimebundle_() | {"text/plain": repr(self)}
        shown = [tag(i.data, i.view.content_type, f"seed {i.view.seed}") for i in self.images]
        return {"text/plain": repr(self), "text/html": "\n".join(shown)}


def drawn(job: JobView) -> tuple[ImageView, ...]:
    """Return the images of a job that has ended. Raises: JobFailed."""
    if job.status != "succeeded":
        raise JobFailed(job)
    return job.images


def tag(data: bytes, content_type: str, title: str) -> str:
    """Return an image as an HTML element."""
    source = f"data:{content_type};base64,{base64.b64encode(data).decode()}"
    return f'<img src="{html.escape(source)}" title="{html.escape(title)}">'
