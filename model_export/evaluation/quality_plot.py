"""The plot of quality against steps: a column per family of samplers.

Seventeen lines in one frame are hard to distinguish, so each family has its own frame, with the
other samplers in grey behind it for comparison.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from diffusion.samplers.registry import SAMPLERS, SamplerInfo
from model_export.evaluation.quality import Cell

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FAMILIES = ("first order", "two rows a step", "multistep", "multistep with noise")
# Okabe and Ito's colour-blind safe palette, without yellow, which is too pale on white.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
MARKERS = ("o", "s", "^", "D", "v")
SIZES = (9.0, 7.5, 6.0, 5.0, 4.0)  # of marks, so that a line shows from beneath the next
GREY = "#d8d8d8"


def family_of(info: SamplerInfo) -> str:
    """Return the family that a sampler is plotted with."""
    if info.rows_per_step > 1:
        return FAMILIES[1]
    if info.order == 1:
        return FAMILIES[0]
    return FAMILIES[3] if info.stochastic else FAMILIES[2]


def write_plot(path: Path, cells: Sequence[Cell], *, codec_psnr_db: float) -> Path:
    """Write top-1 and PSNR against steps as a PNG; equal cells give equal bytes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 7.2), layout="constrained")
    grid = figure.subplots(2, len(FAMILIES), sharex=True, sharey="row")
    steps = sorted({cell.steps for cell in cells})
    for column, family in enumerate(FAMILIES):
        top, bottom = grid[0, column], grid[1, column]
        top.set_title(family, loc="left", fontweight="bold")
        for axes, name in ((top, "top1"), (bottom, "psnr_db")):
            _frame(axes, steps)
            _lines(axes, family, cells, name)
        bottom.axhline(codec_psnr_db, color="#888888", linewidth=1, linestyle=":")
        bottom.set_xlabel("steps")
        top.set_ylim(-0.03, 1.03)
        top.legend(loc="lower right", frameon=True, edgecolor="none", framealpha=0.85)
    grid[0, 0].set_ylabel("top-1")
    grid[1, 0].set_ylabel("PSNR, dB")
    grid[1, 0].annotate(
        "the codec alone", (steps[0], codec_psnr_db), (0, -11), textcoords="offset points",
        color="#666666", fontsize=9,
    )  # fmt: skip
    figure.savefig(path, dpi=100, metadata={"Software": None})
    return path


def _frame(axes: "Axes", steps: Sequence[int]) -> None:
    axes.set_xscale("log")
    axes.set_xticks(steps, [f"{step:g}" for step in steps])
    axes.set_xticks([], minor=True)
    axes.tick_params(labelsize=9)
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _lines(axes: "Axes", family: str, cells: Sequence[Cell], name: str) -> None:
    ours = [sampler for sampler, info in SAMPLERS.items() if family_of(info) == family]
    others = [sampler for sampler in SAMPLERS if sampler not in ours]
    most = max(cell.drawings for cell in cells)
    full = [cell for cell in cells if cell.drawings == most]
    fewer = [cell for cell in cells if cell.drawings < most]
    for sampler in others:
        axes.plot(*_points(full, sampler, name), color=GREY, linewidth=1, zorder=1)
    for sampler, colour, marker, size in zip(ours, COLOURS, MARKERS, SIZES, strict=False):
        axes.plot(*_points(full, sampler, name), color=colour, linewidth=size / 2.5,
                  label=SAMPLERS[sampler].title, marker=marker, markersize=size)  # fmt: skip
        # Of other drawings than the line, so not connected to it.
        axes.plot(*_points(fewer, sampler, name), marker, color=colour, markersize=size,
                  markerfacecolor="white", zorder=3)  # fmt: skip


def _points(cells: Sequence[Cell], sampler: str, name: str) -> tuple[list[int], list[float]]:
    mine = sorted((c for c in cells if c.sampler == sampler), key=lambda cell: cell.steps)
    pairs = [(cell.steps, getattr(cell, name)) for cell in mine if cell.reason is None]
    return [steps for steps, _ in pairs], [value for _, value in pairs]
