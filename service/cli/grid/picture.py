"""One image of many: labelled columns and rows, and a note where an image is missing."""

from collections.abc import Sequence
from io import BytesIO
from textwrap import fill

from PIL import Image, ImageDraw, ImageFont

LEAST_CELL = 96  # pixels
GAP = 8  # pixels, between cells and around labels
LABEL_CHARS = 24  # of a line
FONT_PX = 14
PAPER, INK, MISSING, WARNING = "white", "black", "#eeeeee", "#b00020"
LAST_LETTER = "\u024f"  # Pillow's own font has only Latin letters
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def grid_picture(
    columns: Sequence[str], rows: Sequence[str], cells: Sequence[Sequence[bytes | str]]
) -> bytes:
    """Return a PNG of the cells, row by row: an image's bytes, or the reason it is missing."""
    opened = [[_opened(cell) for cell in row] for row in cells]
    images = [cell for row in opened for cell in row if isinstance(cell, Image.Image)]
    width = max([LEAST_CELL, *(image.width for image in images)])
    height = max([LEAST_CELL, *(image.height for image in images)])
    font = ImageFont.load_default(max(FONT_PX, width // 32))
    above, beside = _labels(columns), _labels(rows)
    width = max([width, *(_extent(label, font)[0] for label in above)])
    left = max(_extent(label, font)[0] for label in beside) + 2 * GAP
    top = max(_extent(label, font)[1] for label in above) + 2 * GAP
    lefts = [left + number * (width + GAP) for number in range(len(columns))]
    tops = [top + number * (height + GAP) for number in range(len(rows))]
    sheet = Image.new("RGB", (lefts[-1] + width + GAP, tops[-1] + height + GAP), PAPER)
    pen = ImageDraw.Draw(sheet)
    for x, label in zip(lefts, above, strict=True):
        _centred(pen, label, (x, 0, x + width, top), font)
    for y, label, line in zip(tops, beside, opened, strict=True):
        _centred(pen, label, (0, y, left, y + height), font)
        for x, cell in zip(lefts, line, strict=True):
            sheet.paste(_tile(cell, (width, height), font), (x, y))
    written = BytesIO()
    sheet.save(written, "PNG")
    return written.getvalue()


def _opened(cell: bytes | str) -> Image.Image | str:
    return cell if isinstance(cell, str) else Image.open(BytesIO(cell)).convert("RGB")


def _labels(texts: Sequence[str]) -> list[str]:
    """Return wrapped labels; a label with letters that the font lacks becomes its number."""
    return [
        fill(text, LABEL_CHARS) if max(text, default="") <= LAST_LETTER else f"#{number}"
        for number, text in enumerate(texts, 1)
    ]


def _extent(text: str, font: Font) -> tuple[int, int]:
    """Return a text's width and height in pixels."""
    pen = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    _, _, right, bottom = pen.multiline_textbbox((0, 0), text, font)
    return round(right), round(bottom)


def _centred(
    pen: ImageDraw.ImageDraw, text: str, box: tuple[int, int, int, int], font: Font
) -> None:
    """Write a label in the middle of a box: left, top, right, bottom."""
    wide, high = _extent(text, font)
    x, y = (box[0] + box[2] - wide) // 2, (box[1] + box[3] - high) // 2
    pen.multiline_text((x, y), text, INK, font, align="center")


def _tile(cell: Image.Image | str, size: tuple[int, int], font: Font) -> Image.Image:
    """Return a cell: its image in the middle, or its note at the top, cut to fit."""
    if isinstance(cell, Image.Image):
        tile = Image.new("RGB", size, PAPER)
        tile.paste(cell, ((size[0] - cell.width) // 2, (size[1] - cell.height) // 2))
        return tile
    tile = Image.new("RGB", size, MISSING)
    chars = max(8, size[0] // max(1, _extent("n", font)[0]))
    ImageDraw.Draw(tile).multiline_text((GAP // 2, GAP // 2), fill(cell, chars), WARNING, font)
    return tile
