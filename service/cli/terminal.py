"""Images, progress and errors in a terminal."""

import contextlib
from collections.abc import Iterator
from io import BytesIO
from typing import Annotated

import typer
from PIL import Image
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from service.client.client import Client
from service.client.errors import ClientError, ConnectionFailed

DEFAULT_URL = "http://127.0.0.1:8000"
UrlOption = Annotated[str, typer.Option("--url", help="The service's address.")]
ApiKeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key", envvar="SFUMATO_API_KEY", help="Needed if the service requires one.",
        show_envvar=True, show_default=False,
    ),
]  # fmt: skip
PREVIEW_COLUMNS = 32


def print_error(message: str) -> None:
    """Print an error on stderr."""
    Console(stderr=True, soft_wrap=True).print(f"[bold red]sfumato:[/] {message}", highlight=False)


def print_warning(message: str) -> None:
    """Print a warning on stderr, as it is."""
    text = Text.assemble(("sfumato: warning:", "bold yellow"), " ", message)
    Console(stderr=True, soft_wrap=True).print(text, highlight=False)


@contextlib.contextmanager
def connected(url: str, api_key: str | None) -> Iterator[Client]:
    """Yield a client; an error ends the command with one line."""
    try:
        with Client(url, api_key=api_key) as client:
            yield client
    except ClientError as error:
        away = f"cannot reach {url}; start the service with `sfumato up`"
        print_error(away if isinstance(error, ConnectionFailed) else str(error))
        raise typer.Exit(1) from error


def half_blocks(data: bytes, columns: int = PREVIEW_COLUMNS) -> Text:
    """Return an image as coloured half blocks, two pixels per character: any terminal shows it."""
    with Image.open(BytesIO(data)) as opened:
        image = opened.convert("RGB")
    rows = max(2, round(columns * image.height / image.width / 2) * 2)
    small = image.resize((columns, rows), Image.Resampling.BOX)
    text = Text(no_wrap=True)
    for y in range(0, rows, 2):
        for x in range(columns):
            text.append("▀", f"{_hex(small, x, y)} on {_hex(small, x, y + 1)}")
        text.append("\n")
    return text


def _hex(image: Image.Image, x: int, y: int) -> str:
    pixel = image.getpixel((x, y))
    assert isinstance(pixel, tuple)
    return "#{:02x}{:02x}{:02x}".format(*pixel[:3])


def finished(data: bytes, console: Console) -> RenderableType:
    """Return a finished image: real pixels if the terminal supports them, else half blocks."""
    if console.is_terminal:
        from textual_image.renderable import Image as AutoImage
        from textual_image.renderable import SixelImage, TGPImage

        if AutoImage in (SixelImage, TGPImage):
            with Image.open(BytesIO(data)) as opened:
                rendered: RenderableType = AutoImage(opened.convert("RGB"), width=PREVIEW_COLUMNS)
                return rendered
    return half_blocks(data)


def progress(label: str, step: int, total: int, note: str, image: bytes | None) -> Group:
    """Return a labelled progress bar, with the latest preview under it."""
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        Text(label, "bold"),
        ProgressBar(total=max(1, total), completed=step, width=30),
        Text(f"{step}/{total}"),
        Text(note, "dim"),
    )
    return Group(bar, *([] if image is None else [half_blocks(image)]))
