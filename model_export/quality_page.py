"""The page about quality against steps: two tables, how they were made, and what is missing."""

from collections.abc import Callable, Sequence
from pathlib import Path

from diffusion.model import ModelInfo
from diffusion.samplers.registry import SAMPLERS
from model_export.card import NAMES
from model_export.quality import LONG, Cell, QualitySettings

NONE = "–"
FIGURES = "figures"  # the folder beside the page that holds its data and plot


def write_page(
    path: Path,
    info: ModelInfo,
    settings: QualitySettings,
    cells: Sequence[Cell],
    *,
    command: str,
    codec_psnr_db: float,
) -> Path:
    """Write the page as Markdown; its plot has the same name, in the folder ``FIGURES``."""
    parts = [
        _head(path, info, settings, cells, command, codec_psnr_db),
        "## Top-1\n\n" + _table(settings, cells, lambda cell: cell.top1, ".2f"),
        "## PSNR, dB\n\n" + _table(settings, cells, lambda cell: cell.psnr_db, ".1f"),
        *_refusals(cells),
    ]
    path.write_text("\n".join(parts), "utf-8")
    return path


def _head(
    path: Path,
    info: ModelInfo,
    settings: QualitySettings,
    cells: Sequence[Cell],
    command: str,
    codec_psnr_db: float,
) -> str:
    rows = sum(c.drawings * settings.rows(c.sampler, c.steps) for c in cells if c.reason is None)
    few, one = _drawings(settings)
    return f"""# Quality against steps

What drawings of the model “{info.title}” are worth under each sampler and number of steps.

```sh
{command}
```

Model digest `{info.sha256[:16]}…`, guidance {settings.guidance_scale:g}, seed {settings.seed};
{rows:,} rows of the UNet. A figure is the mean of {few}, one a subject, spread evenly over
what was trained on; the prompt is the {NAMES[settings.prompts]}. Each sampler visits the noise
levels of its own default schedule.

*Top-1* is the share of drawings nearest, by 16×16 pixels, to the picture asked for among all of the
gallery; one drawing is {one}. *PSNR* is against the picture asked for; the codec alone reaches
{codec_psnr_db:.1f} dB.

![top-1 and PSNR against steps]({FIGURES}/{path.stem}.png)

*Each family before all the others in grey{_hollow(settings)}.*
"""


def _hollow(settings: QualitySettings) -> str:
    few = len({settings.drawings_of(steps) for steps in settings.steps}) > 1
    return "; a hollow mark is of fewer drawings, and is not to be compared" if few else ""


def _drawings(settings: QualitySettings) -> tuple[str, str]:
    """Return how many drawings a figure is of, and what share of it one is."""
    few, one = f"{settings.drawings} drawings", f"{1 / settings.drawings:.3f} of it"
    long = settings.drawings_of(LONG)
    if max(settings.steps) < LONG or long == settings.drawings:
        return few, one
    return f"{few}, {long} from {LONG} steps on", f"{one}, {1 / long:.3f} from {LONG} steps on"


def _table(
    settings: QualitySettings,
    cells: Sequence[Cell],
    value: Callable[[Cell], float | None],
    form: str,
) -> str:
    found = {(cell.sampler, cell.steps): value(cell) for cell in cells}
    lines = [
        _line(["sampler", "rows a step", *map(str, settings.steps)]),
        "|---|" + "---:|" * (len(settings.steps) + 1),
    ]
    for name, info in SAMPLERS.items():
        figures = [found.get((name, steps)) for steps in settings.steps]
        shown = [NONE if figure is None else format(figure, form) for figure in figures]
        lines.append(_line([f"{info.title} `{name}`", str(info.rows_per_step), *shown]))
    counts = [str(settings.drawings_of(steps)) for steps in settings.steps]
    lines.append(_line(["*drawings*", "", *counts]))
    return "\n".join(lines) + "\n"


def _line(fields: Sequence[str]) -> str:
    return f"| {' | '.join(fields)} |"


def _refusals(cells: Sequence[Cell]) -> list[str]:
    lines = [
        f"- `{cell.sampler}`, {cell.steps} steps: {cell.reason}"
        for cell in cells
        if cell.reason is not None
    ]
    return [f"{NONE} stands for what cannot be:\n", *lines, ""] if lines else []
