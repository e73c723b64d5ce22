"""``sfumato capacity``: how many workers a load takes."""

from math import isinf
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from service.capacity import CannotBeMet, Kind, Speed, least, predict
from service.terminal import complain


def capacity(
    rate: Annotated[float, typer.Option(min=1e-6, help="Jobs a second.")],
    tick_ms: Annotated[float, typer.Option(min=0, help="What a forward pass costs, rows aside.")],
    row_ms: Annotated[float, typer.Option(min=1e-6, help="What each of its rows costs.")],
    p95: Annotated[float, typer.Option(min=1e-3, help="Seconds in which 95 of 100 are done.")],
    rows_per_tick: Annotated[int, typer.Option(min=2, help="Rows of a full pass.")] = 16,
    steps: Annotated[
        list[int] | None, typer.Option(min=1, help="Evaluations a picture; repeat for a mix.")
    ] = None,
    guidance: Annotated[float, typer.Option(min=1.0, help="Guidance scale; 1 is none.")] = 3.0,
    images: Annotated[int, typer.Option(min=1, help="Pictures a job.")] = 1,
) -> None:
    """Say how many workers a load takes; a worker tells its tick times at start."""
    speed = Speed(tick_ms / 1000, row_ms / 1000, rows_per_tick)
    passes = 1 if guidance == 1.0 else 2
    kinds = [Kind(n, passes, images) for n in steps or [25]]
    try:
        found = least(speed, rate, kinds, p95)
    except CannotBeMet as error:
        complain(str(error))
        raise typer.Exit(1) from error
    demand = rate * sum(kind.units for kind in kinds) / len(kinds)
    print(f"{demand:.4g} units a second are asked for; one worker does {speed.units_per_s:.4g}")
    table = Table("workers", "busy", "mean", "p95")
    for workers in range(max(1, found.workers - 2), found.workers + 3):
        row = predict(speed, rate, kinds, workers)
        style = "bold" if workers == found.workers else None
        times = [
            "the queue grows" if isinf(seconds) else f"{seconds:.3g} s"
            for seconds in (row.mean_s, row.p95_s)
        ]
        table.add_row(str(workers), f"{row.busy:.0%}", *times, style=style)
    Console().print(table)
    noun = "worker keeps" if found.workers == 1 else "workers keep"
    print(f"{found.workers} {noun} 95 of 100 jobs within {p95:g} s")
