"""Tables as plain text: no cell is ever cut or wrapped, so that ids can be copied and piped."""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len

from jobs.telemetry.text import shown

GAP = "  "


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows under their headings, in columns as wide as their widest cell."""
    lines = [list(headings), *([shown(cell) for cell in row] for row in rows)]
    widths = [max(map(cell_len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        cells = (
            cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=True)
        )
        print(GAP.join(cells).rstrip())
