"""``python -m model_export quality``: every sampler at many numbers of steps, page and plot."""

import shlex
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from diffusion.bundle.bundle import Bundle, load_bundle
from diffusion.model import ModelInfo
from diffusion.samplers.registry import SAMPLERS
from model_export.evaluation.card import PROMPT_NAMES
from model_export.evaluation.evaluate import codec_images, prompts_of
from model_export.evaluation.gallery import EMOJI_GALLERY, Gallery, load_gallery
from model_export.evaluation.measures import psnr_db
from model_export.evaluation.quality import (
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
from model_export.evaluation.quality_plot import write_plot
from model_export.evaluation.template import render
from model_export.terminal import plain_console
from model_export.training.train_command import Threads, default_device

NAME = "quality"
FIGURES = "figures"
"""The folder beside the page for its data and plot."""
console = plain_console()


def command(
    bundle: Annotated[Path, typer.Argument(help="A model bundle.")],
    out: Annotated[
        Path, typer.Option(help="The page's folder; data and plot go to figures/.")
    ] = Path("docs"),
    drawings: Annotated[int, typer.Option(help="Per figure, one per example.", min=1)] = (
        QualitySettings.drawings
    ),
    drawings_long: Annotated[
        int | None, typer.Option(help="Fewer from 1000 steps on, to save hours.", min=1)
    ] = None,
    steps: Annotated[
        list[int] | None, typer.Option(help="Repeatable; 1 to 1000 by default.", min=1)
    ] = None,
    guidance: Annotated[float | None, typer.Option(help="The model's default.")] = None,
    seed: Annotated[int, typer.Option()] = QualitySettings.seed,
    gallery_folder: Annotated[
        Path, typer.Option("--gallery", help="The reference images.")
    ] = EMOJI_GALLERY,
    threads: Threads = 1,
) -> None:
    """Draw known images with every sampler at many numbers of steps, saving each figure."""
    torch.set_num_threads(threads)
    loaded = load_bundle(bundle, device=default_device(), backend="auto")
    gallery = load_gallery(gallery_folder)
    scale = loaded.info.default_guidance_scale if guidance is None else guidance
    chosen = tuple(sorted(set(steps or STEPS)))
    settings = QualitySettings(scale, chosen, drawings, drawings_long, seed, prompts_of(gallery)[0])
    places = spread(gallery, drawings)
    spread(gallery, settings.drawings_of(LONG))  # refused before hours of drawing rather than after
    page, figures = out / f"{NAME}.md", out / FIGURES
    figures.mkdir(parents=True, exist_ok=True)
    cells = _cells(loaded, gallery, settings, figures / f"{NAME}.json")
    coded = codec_images(bundle, gallery)
    bound = float(psnr_db(coded, gallery.images)[places].mean())
    asked = _command(bundle, out, settings, gallery_folder)
    plot = figures / f"{NAME}.png"
    write_page(page, loaded.info, settings, cells, command=asked, codec_psnr_db=bound)
    write_plot(plot, cells, codec_psnr_db=bound)
    console.print(f"→ {page}, {plot}", soft_wrap=True)


def _cells(bundle: Bundle, gallery: Gallery, settings: QualitySettings, path: Path) -> list[Cell]:
    """Return every cell asked for, drawing those that the file lacks and saving each at once."""
    subject = subject_of(bundle, gallery, settings)
    kept = {(c.sampler, c.steps, c.drawings): c for c in read_cells(path, subject)}
    wanted = [(name, n, settings.drawings_of(n)) for n in settings.steps for name in SAMPLERS]
    missing = [cell for cell in wanted if cell not in kept]
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
               TextColumn("rows"), TimeRemainingColumn())  # fmt: skip
    with Progress(*columns, console=console, transient=True) as bar:
        rows = sum(settings.rows(name, steps) * count for name, steps, count in missing)
        task = bar.add_task("", total=rows)
        advance = partial(bar.advance, task)
        for name, steps, count in missing:
            bar.update(task, description=f"{name}, {steps} steps")
            kept[name, steps, count] = draw_cell(bundle, gallery, settings, name, steps, advance)
            write_cells(path, subject, list(kept.values()))
    return [kept[cell] for cell in wanted]


def _command(bundle: Path, out: Path, settings: QualitySettings, gallery: Path) -> str:
    words = ["python", "-m", "model_export", NAME, str(bundle), "--out", str(out)]
    words += ["--drawings", str(settings.drawings)]
    if settings.drawings_long is not None:
        words += ["--drawings-long", str(settings.drawings_long)]
    words += ["--guidance", f"{settings.guidance_scale:g}", "--seed", str(settings.seed)]
    if settings.steps != STEPS:
        words += [word for steps in settings.steps for word in ("--steps", str(steps))]
    if gallery != EMOJI_GALLERY:
        words += ["--gallery", str(gallery)]
    return shlex.join(words)


def write_page(
    path: Path,
    info: ModelInfo,
    settings: QualitySettings,
    cells: Sequence[Cell],
    *,
    command: str,
    codec_psnr_db: float,
) -> Path:
    """Write the page as Markdown; it shows the plot of the same name in ``FIGURES`` beside it."""
    drawn = [cell for cell in cells if cell.reason is None]
    text = render(
        "quality.md.jinja",
        info=info,
        settings=settings,
        samplers=SAMPLERS.values(),
        figures={(cell.sampler, cell.steps): vars(cell) for cell in drawn},
        refused=[cell for cell in cells if cell.reason is not None],
        rows=sum(cell.drawings * settings.rows(cell.sampler, cell.steps) for cell in drawn),
        prompt_name=PROMPT_NAMES[settings.prompts],
        long=LONG,
        command=command,
        codec_psnr_db=codec_psnr_db,
        plot=f"{FIGURES}/{path.stem}.png",
    )
    path.write_text(text, "utf-8")
    return path
