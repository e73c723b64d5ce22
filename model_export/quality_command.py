"""``python -m model_export quality``: every sampler at many numbers of steps, as page and plot."""

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from diffusion.bundle import Bundle, load_bundle
from diffusion.samplers.registry import SAMPLERS
from model_export.evaluate import codec_pictures, prompts_of
from model_export.gallery import HERE, Gallery, load_gallery
from model_export.measures import psnr_db
from model_export.quality import (
    LONG,
    STEPS,
    Cell,
    QualitySettings,
    draw_cell,
    read_cells,
    spread,
    subject_of,
    write_cells,
)
from model_export.quality_page import FIGURES, write_page
from model_export.quality_plot import write_plot

NAME = "quality"
console = Console()


def command(
    bundle: Annotated[Path, typer.Argument(help="A model bundle.")],
    out: Annotated[
        Path, typer.Option(help="The page's folder; data and plot go to figures/.")
    ] = Path("docs"),
    drawings: Annotated[int, typer.Option(help="Of each figure, one an emoji.", min=1)] = (
        QualitySettings.drawings
    ),
    drawings_long: Annotated[
        int | None, typer.Option(help="Fewer from 1000 steps on, to save hours.", min=1)
    ] = None,
    steps: Annotated[
        list[int] | None, typer.Option(help="Several may be; 1 to 1000 unless said.", min=1)
    ] = None,
    guidance: Annotated[float | None, typer.Option(help="The model's own.")] = None,
    seed: Annotated[int, typer.Option()] = QualitySettings.seed,
    gallery_folder: Annotated[
        Path, typer.Option("--gallery", help="The reference pictures.")
    ] = HERE,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Draw known emoji with every sampler at many numbers of steps; what is drawn is kept."""
    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = load_bundle(bundle, device=device, backend="auto")
    gallery = load_gallery(gallery_folder)
    scale = loaded.info.default_guidance_scale if guidance is None else guidance
    chosen = tuple(sorted(set(steps or STEPS)))
    settings = QualitySettings(scale, chosen, drawings, drawings_long, seed, prompts_of(gallery)[0])
    places = spread(gallery, drawings)
    spread(gallery, settings.drawings_of(LONG))  # refused before hours of drawing, not after
    page, figures = out / f"{NAME}.md", out / FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    cells = _cells(loaded, gallery, settings, figures / f"{NAME}.json")
    coded = codec_pictures(bundle, gallery)
    bound = float(psnr_db(coded, gallery.pictures)[places].mean())
    asked = _command(bundle, out, settings, gallery_folder)
    plot = figures / f"{NAME}.png"
    write_page(page, loaded.info, settings, cells, command=asked, codec_psnr_db=bound)
    write_plot(plot, cells, codec_psnr_db=bound)
    console.print(f"→ {page}, {plot}", soft_wrap=True)


def _cells(bundle: Bundle, gallery: Gallery, settings: QualitySettings, path: Path) -> list[Cell]:
    """Return every cell asked for; those not in the file are drawn, and written to it at once."""
    subject = subject_of(bundle, gallery, settings)
    kept = {(c.sampler, c.steps, c.drawings): c for c in read_cells(path, subject)}
    wanted = [(name, n, settings.drawings_of(n)) for n in settings.steps for name in SAMPLERS]
    missing = [cell for cell in wanted if cell not in kept]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TextColumn("rows"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        rows = sum(settings.rows(name, steps) * count for name, steps, count in missing)
        task = bar.add_task("", total=rows)
        for name, steps, count in missing:
            bar.update(task, description=f"{name}, {steps} steps")
            kept[name, steps, count] = draw_cell(
                bundle, gallery, settings, name, steps, _advance(bar, task)
            )
            write_cells(path, subject, list(kept.values()))
    return [kept[cell] for cell in wanted]


def _advance(bar: Progress, task: TaskID) -> Callable[[int], None]:
    return lambda rows: bar.advance(task, rows)


def _command(bundle: Path, out: Path, settings: QualitySettings, gallery: Path) -> str:
    words = ["python", "-m", "model_export", NAME, str(bundle), "--out", str(out)]
    words += ["--drawings", str(settings.drawings)]
    if settings.drawings_long is not None:
        words += ["--drawings-long", str(settings.drawings_long)]
    words += ["--guidance", f"{settings.guidance_scale:g}", "--seed", str(settings.seed)]
    if settings.steps != STEPS:
        words += [word for steps in settings.steps for word in ("--steps", str(steps))]
    if gallery != HERE:
        words += ["--gallery", str(gallery)]
    return shlex.join(words)
