"""Images, progress and errors in a terminal."""

import contextlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import typer
from PIL import Image
from rich.console import Console, Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from jobs.telemetry.text import shown
from service.cli.shared.encoding import is_unicode
from service.cli.shared.exit_codes import ExitCode, exit_code
from service.client.client import Sfumato
from service.client.errors import ClientError, ConnectionFailed
from service.processes.folder import UnusableFolder, usable_folder

PREVIEW_COLUMNS = 32
RETRY_S = 3.0  # somebody waits


def console(*, stderr: bool = False) -> Console:
    """Return a console that prints strings as they are: no markup, no emoji codes, no colours."""
    return Console(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True)


def print_error(message: str, *more: str) -> None:
    """Print an error on stderr, on one line, and more lines below it."""
    line = Text("sfumato: ", "bold red").append(shown(message), "default not bold")
    out = console(stderr=True)
    out.print(line)
    for each in more:
        out.print(shown(each))


def print_warning(message: str) -> None:
    """Print a warning on stderr, as it is."""
    console(stderr=True).print(
        Text.assemble(("sfumato: warning:", "bold yellow"), " ", shown(message))
    )


@contextlib.contextmanager
def connected(url: str, api_key: str | None, retry_s: float = RETRY_S) -> Iterator[Sfumato]:
    """Yield a client; an error ends the command with one line and its exit code."""
    try:
        with Sfumato(url, api_key=api_key, retry_s=retry_s) as client:
            yield client
    except ConnectionFailed as error:
        print_error(f"cannot reach {error}; start the service with `sfumato up`")
        raise typer.Exit(exit_code(error)) from error
    except ClientError as error:
        print_error(str(error))
        raise typer.Exit(exit_code(error)) from error


def output_folder(out: Path) -> Path:
    """Return the folder, made if need be; one that cannot be written ends the command."""
    try:
        usable_folder(out)
    except UnusableFolder as error:
        print_error(str(error))
        raise typer.Exit(ExitCode.FAILED) from error
    return out


def shows_images(console: Console) -> bool:
    """Return whether images can be seen there: in a terminal with colours, and in no pipe."""
    in_terminal = console.is_terminal and console.file.isatty()
    return in_terminal and not console.is_dumb_terminal and not console.no_color


def half_blocks(data: bytes, columns: int = PREVIEW_COLUMNS, *, plain: bool = False) -> Text:
    """Return an image as coloured half blocks, two pixels per character: any terminal shows it.

    ``plain``: as coloured spaces, for an encoding that has no blocks.
    """
    with Image.open(BytesIO(data)) as opened:
        image = opened.convert("RGB")
    rows = max(2, round(columns * image.height / image.width / 2) * 2)
    small = image.resize((columns, rows), Image.Resampling.BOX)
    text = Text(no_wrap=True)
    for y in range(0, rows, 2):
        for x in range(columns):
            upper, lower = _hex(small, x, y), _hex(small, x, y + 1)
            text.append(*(" ", f"on {lower}") if plain else ("▀", f"{upper} on {lower}"))
        text.append("\n")
    return text


def _hex(image: Image.Image, x: int, y: int) -> str:
    pixel = image.getpixel((x, y))
    assert isinstance(pixel, tuple)
    return "#{:02x}{:02x}{:02x}".format(*pixel[:3])


def finished(data: bytes, console: Console, columns: int = PREVIEW_COLUMNS) -> RenderableType:
    """Return a finished image: real pixels if the terminal supports them, else half blocks."""
    if shows_images(console):
        from textual_image.renderable import Image as AutoImage
        from textual_image.renderable import SixelImage, TGPImage

        if AutoImage in (SixelImage, TGPImage):
            with Image.open(BytesIO(data)) as opened:
                rendered: RenderableType = AutoImage(opened.convert("RGB"), width=columns)
                return rendered
    return half_blocks(data, columns, plain=not is_unicode(console.encoding))


def progress(
    label: str, step: int, total: int, note: str, image: bytes | None, *, plain: bool = False
) -> Group:
    """Return a labelled progress bar, with the latest preview under it."""
    bar = Table.grid(padding=(0, 1))
    bar.add_row(
        Text(shown(label), "bold"),
        ProgressBar(total=max(1, total), completed=step, width=30),
        Text(f"{step}/{total}"),
        Text(shown(note), "dim"),
    )
    return Group(bar, *([] if image is None else [half_blocks(image, plain=plain)]))
