"""Pictures, progress and complaints in a terminal."""

from io import BytesIO
from typing import Annotated

import typer
from PIL import Image
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

DEFAULT_URL = "http://127.0.0.1:8000"
ApiKeyOption = Annotated[
    str | None,
    typer.Option(
        "--api-key", envvar="SFUMATO_API_KEY", help="Where the service asks for one.",
        show_envvar=True, show_default=False,
    ),
]  # fmt: skip
PREVIEW_COLUMNS = 32
FULL_BLOCK = "▀"


def complain(message: str) -> None:
    """Tell a person what went wrong, on stderr."""
    Console(stderr=True, soft_wrap=True).print(f"[bold red]sfumato:[/] {message}", highlight=False)


def half_blocks(data: bytes, columns: int = PREVIEW_COLUMNS) -> Text:
    """Return a picture as coloured half blocks, two pixels a character: any terminal shows it."""
    with Image.open(BytesIO(data)) as opened:
        picture = opened.convert("RGB")
    rows = max(2, round(columns * picture.height / picture.width / 2) * 2)
    small = picture.resize((columns, rows), Image.Resampling.BOX)
    text = Text(no_wrap=True)
    for y in range(0, rows, 2):
        for x in range(columns):
            top, bottom = _hex(small, x, y), _hex(small, x, y + 1)
            text.append(FULL_BLOCK, f"{top} on {bottom}")
        text.append("\n")
    return text


def _hex(picture: Image.Image, x: int, y: int) -> str:
    pixel = picture.getpixel((x, y))
    assert isinstance(pixel, tuple)
    return "#{:02x}{:02x}{:02x}".format(*pixel[:3])


def finished(data: bytes, console: Console) -> RenderableType:
    """Return a finished picture: real pixels where the terminal has them, half blocks elsewhere."""
    if console.is_terminal:
        from textual_image.renderable import Image as AutoImage
        from textual_image.renderable import SixelImage, TGPImage

        if AutoImage in (SixelImage, TGPImage):
            with Image.open(BytesIO(data)) as opened:
                rendered: RenderableType = AutoImage(opened.convert("RGB"), width=PREVIEW_COLUMNS)
                return rendered
    return half_blocks(data)


def bar(label: str, step: int, total: int, note: str = "") -> RenderableType:
    """Return a labelled progress bar."""
    table = Table.grid(padding=(0, 1))
    table.add_row(
        Text(label, "bold"),
        ProgressBar(total=max(1, total), completed=step, width=30),
        Text(f"{step}/{total}"),
        Text(note, "dim"),
    )
    return table


def taking_shape(label: str, step: int, total: int, note: str, picture: bytes | None) -> Group:
    """Return a progress bar with the newest preview under it."""
    parts: list[RenderableType] = [bar(label, step, total, note)]
    if picture is not None:
        parts.append(half_blocks(picture))
    return Group(*parts)
