"""The command: draw the cells, list them, and write one image of them all."""

import json
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from jobs.schema import MAX_DRAWN_SEED
from jobs.telemetry.text import shown
from service.cli.grid.axes import (
    PARAMETERS,
    Axis,
    check_axes,
    check_names,
    parse_axis,
    value_text,
)
from service.cli.grid.cells import Cell, cells_of, draw_cells
from service.cli.grid.picture import grid_picture
from service.cli.shared.exit_codes import ExitCode
from service.cli.shared.options import (
    DEFAULT_URL,
    ApiKeyOption,
    GuidanceOption,
    InlineOption,
    JsonOption,
    ModelOption,
    NegativeOption,
    SamplerOption,
    SeedOption,
    SizeOption,
    StepsOption,
    SyntaxOption,
    UrlOption,
    request_fields,
)
from service.cli.shared.picture_files import PROMPT_BYTES, NotSaved, create, slug
from service.cli.shared.table import print_table
from service.cli.shared.terminal import (
    connected,
    console,
    finished,
    output_folder,
    print_error,
    shows_images,
)

MOST_CELLS = 64
COLUMNS = 72  # of the image in a terminal
VARIED = "NAME=VALUE,VALUE,…"


def grid_command(
    prompt: Annotated[
        str,
        typer.Argument(help="What the images should show; {x} and {y} mark the parts that vary."),
    ],
    x: Annotated[
        str, typer.Option("--x", metavar=VARIED, help=f"Columns: {', '.join(PARAMETERS)}.")
    ],
    y: Annotated[
        str | None, typer.Option("--y", metavar=VARIED, help="Rows, in the same way.")
    ] = None,
    steps: StepsOption = None,
    sampler: SamplerOption = None,
    guidance: GuidanceOption = None,
    negative: NegativeOption = None,
    syntax: SyntaxOption = None,
    seed: SeedOption = None,
    size: SizeOption = None,
    model: ModelOption = None,
    url: UrlOption = DEFAULT_URL,
    api_key: ApiKeyOption = None,
    out: Annotated[Path, typer.Option(help="Folder for the image.")] = Path("out"),
    inline: InlineOption = True,
    as_json: JsonOption = False,
) -> None:
    """Compare two parameters in one grid of images; Ctrl-C cancels its jobs.

    All cells share one seed unless you vary it. To vary a part of the prompt:
    `"a {x} apple" --x prompt=red,green`.
    """
    across, down = parse_axis("x", x), parse_axis("y", y)
    given = request_fields(
        steps=steps,
        sampler=sampler,
        guidance=guidance,
        negative=negative,
        syntax=syntax,
        size=size,
        model=model,
    ) | {"seed": seed}
    check_axes((across, down), prompt, given)
    if (count := len(across.values) * len(down.values)) > MOST_CELLS:
        raise typer.BadParameter(
            f"{count} cells are more than the {MOST_CELLS} allowed", param_hint="--x"
        )
    seed = secrets.randbelow(MAX_DRAWN_SEED + 1) if seed is None else seed
    request = given | {"prompt": prompt, "seed": seed, "preview": 0}
    cells, screen = cells_of(across, down, request), console(stderr=as_json)
    with connected(url, api_key) as client:
        folder = output_folder(out)
        check_names((across, down), client.models().models)
        draw_cells(client, cells, screen)
        if not as_json:
            _print_cells(across, down, cells)
        for cell in cells:
            if cell.image is None:
                print_error(f"{cell_name(across, down, cell)}: {cell.note}")
        path = folder / f"{_name(prompt, across, down)}.png"
        written = _written(path, across, down, cells)
    if as_json:
        print(json.dumps(_document(across, down, cells, written), indent=2))
    else:
        if inline and shows_images(screen):
            screen.print(finished(written.read_bytes(), screen, columns=COLUMNS))
        print(f"saved {shown(written)}")
    if any(cell.image is None for cell in cells):
        raise typer.Exit(ExitCode.FAILED)


def _print_cells(x: Axis, y: Axis, cells: Sequence[Cell]) -> None:
    axes = [axis for axis in (x, y) if axis.name]
    print_table(
        ("job", *(axis.name for axis in axes), "status"),
        [
            (
                cell.job.id if cell.job is not None else "",
                *(value_text({"x": cell.x, "y": cell.y}[axis.place]) for axis in axes),
                cell.status,
            )
            for cell in cells
        ],
    )


def cell_name(x: Axis, y: Axis, cell: Cell) -> str:
    """Return the labels of a cell."""
    labels = (x.label(cell.x), y.label(cell.y))
    return ", ".join(label for label in labels if label)


def _name(prompt: str, x: Axis, y: Axis) -> str:
    """Return the prompt and the parameters, as part of a file name."""
    return "-".join(filter(None, (slug(prompt, PROMPT_BYTES), "grid", x.name, y.name)))


def _written(path: Path, x: Axis, y: Axis, cells: Sequence[Cell]) -> Path:
    """Write the image to a new file; return its path. Raises: NotSaved."""
    found = [cell.image or f"{cell_name(x, y, cell)}: {cell.status}. {cell.note}" for cell in cells]
    wide = len(x.values)
    lines = [found[begin : begin + wide] for begin in range(0, len(found), wide)]
    try:
        return create(path, grid_picture(x.labels, y.labels, lines))
    except OSError as error:
        detail = f"cannot write {path}: {error.strerror}"
        raise NotSaved(f"{detail}; the service still has the jobs' images") from error


def _document(x: Axis, y: Axis, cells: Sequence[Cell], written: Path) -> dict[str, Any]:
    """Return what was drawn as JSON."""
    return {
        "file": str(written),
        "x": x.name,
        "y": y.name or None,
        "cells": [
            {
                "x": cell.x,
                "y": cell.y if y.name else None,
                "job": cell.job.id if cell.job is not None else None,
                "status": cell.status,
                "seed": cell.request["seed"],
                "error": cell.note or None,
            }
            for cell in cells
        ],
    }
