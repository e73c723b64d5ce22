"""``python -m tests.parity [WORD]``: print the parity table, of the layouts with this word."""

import logging
import sys
import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console
from rich.table import Table

from model_export.quiet import quiet_libraries
from tests.parity.table import ALL, cases, compared


def main(word: str = "") -> None:
    """Print one row for each layout, sampler and number of steps."""
    quiet_libraries()
    logging.disable(logging.WARNING)
    warnings.simplefilter("ignore")
    table = Table("layout", "sampler", "steps", "largest difference of 255", "allowed")
    for entry in ALL:
        if word not in entry.name:
            continue
        with TemporaryDirectory() as scratch:
            folder = entry.write(Path(scratch) / "model")
            for sampler, steps in cases(entry):
                cell = compared(entry, folder, sampler, steps)
                shown = f"{cell.difference}{' (flat)' if cell.flat else ''}"
                table.add_row(entry.name, cell.name, str(steps), shown, str(cell.bound))
    Console(width=120).print(table)


if __name__ == "__main__":
    main(*sys.argv[1:])
