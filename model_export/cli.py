"""``python -m model_export``: from images and captions to a measured model bundle."""

from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.progress import Progress as Bar

from diffusion.bundle.bundle import Bundle, load_bundle
from diffusion.errors import DiffusionError
from diffusion.files import read_json
from model_export.bundle import Defaults, bundle_run
from model_export.data.data import build_dataset, load_dataset, save_dataset
from model_export.data.font import NOTO, EmojiFont
from model_export.data.labels import read_labels
from model_export.data.pictures import command as pictures_command
from model_export.errors import ExportError
from model_export.evaluation.card import ASKED_SHEET, SHEET, write_card
from model_export.evaluation.composed import composed
from model_export.evaluation.evaluate import (
    SEEDS,
    Run,
    bounds,
    evaluate,
    prompts_of,
    read_evaluation,
    record,
)
from model_export.evaluation.gallery import (
    EMOJI_GALLERY,
    Gallery,
    load_gallery,
    make_gallery,
    save_gallery,
)
from model_export.evaluation.held_out import (
    drawings_of,
    measure_held_out,
    read_held_out,
    record_held_out,
)
from model_export.evaluation.quality_command import command as quality_command
from model_export.evaluation.sampling import SamplingSettings
from model_export.evaluation.sheet import write_asked, write_seeds, write_sheet, write_steps
from model_export.quiet import quiet_libraries
from model_export.terminal import escape_what_streams_lack, plain_console
from model_export.training.origin import TRAINING
from model_export.training.train_command import (
    Count,
    DataFolder,
    Device,
    Threads,
    default_device,
    emoji_count,
)
from model_export.training.train_command import command as train_command

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
app.command("pictures")(pictures_command)
app.command("train")(train_command)
app.command("quality")(quality_command)
console = plain_console()

BundleFolder = Annotated[Path, typer.Argument(help="A model bundle.")]
GalleryFolder = Annotated[Path, typer.Option("--gallery", help="The reference images.")]
Guidance = Annotated[float | None, typer.Option(help="The guidance scale; the model's default.")]
Steps = Annotated[int, typer.Option(help="Sampling steps.")]
Sampler = Annotated[str, typer.Option(help="The sampler.")]
Every = Annotated[int, typer.Option(help="Draw only each n-th example.")]


@app.command("data")
def data_command(
    labels: Annotated[Path, typer.Option(help="Folder or .tgz of npm's emojibase-data.")],
    out: Annotated[Path, typer.Option(help="Where the data set goes.")] = Path("data"),
    font: Annotated[Path, typer.Option(help="A colour emoji font.")] = NOTO,
) -> None:
    """Draw every labelled emoji of a font and save it with its labels."""
    dataset = build_dataset(read_labels(labels), EmojiFont(font))
    save_dataset(dataset, out)
    shown = len(dataset.gallery())
    console.print(f"{len(dataset)} emoji ({shown} for the gallery) → {out}")


@app.command("gallery")
def gallery_command(
    data: DataFolder,
    emoji: Count = None,
    out: Annotated[Path, typer.Option(help="Where the gallery goes.")] = EMOJI_GALLERY,
) -> None:
    """Write the reference images that drawings are measured against."""
    dataset = load_dataset(data)
    if dataset.custom and out == EMOJI_GALLERY:
        raise typer.BadParameter("a custom data set needs --out: the default gallery is of emoji")
    gallery = make_gallery(dataset, emoji_count(dataset, emoji))
    save_gallery(gallery, out)
    things, count = "images" if dataset.custom else "emoji", len(gallery.trained)
    console.print(f"{len(gallery.examples)} {things}, {count} of them trained on → {out}")


@app.command("bundle")
def bundle_command(
    run: Annotated[Path, typer.Argument(help="A training run's folder.")],
    out: Annotated[Path, typer.Argument(help="Where the bundle goes, replacing one there.")],
    guidance: Annotated[float, typer.Option(help="The default guidance scale.")] = (
        Defaults.default_guidance_scale
    ),
    mean: Annotated[
        list[Path] | None,
        typer.Option(help="A run or bundle it started from, to average with; repeatable."),
    ] = None,
) -> None:
    """Write a run's averaged weights as a bundle that the service loads."""
    bundle_run(run, out, Defaults(default_guidance_scale=guidance), mean=mean or ())
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    console.print(f"{size / 1e6:.1f} MB → {out}")


@app.command("evaluate")
def evaluate_command(
    bundle: BundleFolder,
    prompts: Annotated[
        list[str] | None, typer.Option(help="en, zh, tags or caption; repeatable. Default: all.")
    ] = None,
    guidance: Annotated[
        list[float] | None, typer.Option(help="Guidance scales; the model's default.")
    ] = None,
    steps: Steps = 15,
    sampler: Sampler = "dpmpp_2m",
    seeds: Annotated[int, typer.Option(help="Drawings of each example.")] = SEEDS,
    every: Every = 1,
    gallery_folder: GalleryFolder = EMOJI_GALLERY,
    threads: Threads = 1,
    device: Device = None,
) -> None:
    """Measure a bundle and save the figures in its evaluation.json."""
    loaded = _load(bundle, device, threads)
    whole = _gallery(bundle, gallery_folder)
    gallery, limits = whole.every(every), bounds(bundle, whole)
    kinds = prompts_of(gallery, prompts or [])
    with Bar(console=console, transient=True) as bar:
        for scale in guidance or [loaded.info.default_guidance_scale]:
            settings = SamplingSettings(sampler=sampler, steps=steps, guidance_scale=scale)
            for kind in kinds:
                total = len(gallery.trained) * seeds
                task = bar.add_task(f"{kind}, guidance {scale:g}", total=total)
                run = evaluate(
                    loaded, bundle, gallery, kind, settings, seeds=seeds,
                    progress=partial(bar.advance, task),
                )  # fmt: skip
                record(bundle, [run], limits)
                _show(run)


def _show(run: Run) -> None:
    m = run.measures
    console.print(
        f"{run.prompts:4s}  guidance {run.guidance_scale:g}  {run.steps} steps  "
        f"top-1 {m.top1:.3f}  top-5 {m.top5:.3f}  PSNR {m.psnr_db:.2f} dB  "
        f"high frequencies {m.high_frequency:.2f}  speckle {m.speckle:.2f}"
        + (f"  diversity {m.diversity:.2f}" if m.diversity is not None else "")
    )


@app.command("held-out")
def held_out_command(
    bundle: BundleFolder,
    seeds: Annotated[int, typer.Option(help="Drawings of each prompt.", min=1)] = SEEDS,
    steps: Steps = 15,
    sampler: Sampler = "dpmpp_2m",
    gallery_folder: GalleryFolder = EMOJI_GALLERY,
    threads: Threads = 1,
    device: Device = None,
) -> None:
    """Measure an evaluated bundle on prompts that it was not trained on."""
    read_evaluation(bundle)  # refused before drawing rather than after
    gallery = load_gallery(gallery_folder)
    prompts = (*read_held_out(gallery), *composed(gallery))
    loaded = _load(bundle, device, threads, backend="auto")
    settings = _settings(loaded, None, steps, sampler)
    runs = []
    with Bar(console=console, transient=True) as bar:
        for held in prompts:
            task = bar.add_task(held.kind, total=drawings_of(held) * seeds)
            advance = partial(bar.advance, task)
            run = measure_held_out(loaded, gallery, held, settings, seeds=seeds, progress=advance)
            figures = "  ".join(f"{name} {value:.3f}" for name, value in run.measures.items())
            console.print(f"{run.kind:17s}  {figures}")
            runs.append(run)
    console.print(f"→ {record_held_out(bundle, runs)}")


@app.command("sheet")
def sheet_command(
    bundle: BundleFolder,
    out: Annotated[Path | None, typer.Option(help="A PNG; by default in the bundle.")] = None,
    prompts: Annotated[
        str | None, typer.Option(help="en, zh, tags or caption; default: en or caption.")
    ] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Other prompts: one row each, one seed per column.")
    ] = None,
    asked: Annotated[
        bool, typer.Option("--asked", help="Draw twenty prompts of people who know no label.")
    ] = False,
    guidance: Guidance = None,
    every: Every = 4,
    columns: Annotated[int, typer.Option()] = 16,
    references: Annotated[bool, typer.Option(help="Show references beside drawings.")] = False,
    seed: Annotated[int, typer.Option()] = 0,
    steps: Steps = 15,
    sampler: Sampler = "dpmpp_2m",
    gallery_folder: GalleryFolder = EMOJI_GALLERY,
    threads: Threads = 1,
    device: Device = None,
) -> None:
    """Draw the trained examples on one contact sheet."""
    if asked and prompt:
        raise typer.BadParameter("--asked has prompts of its own: leave --prompt out")
    if prompt and out is None:
        raise typer.BadParameter("--prompt needs --out: the bundle's sheet shows what it learned")
    loaded = _load(bundle, device, threads)
    settings = _settings(loaded, guidance, steps, sampler)
    path = out or bundle / (ASKED_SHEET if asked else SHEET)
    if asked:
        write_asked(path, loaded, settings, seed=seed)
    elif prompt:
        write_seeds(path, loaded, prompt, settings, columns=columns, seed=seed)
    else:
        gallery = _gallery(bundle, gallery_folder)
        kind = prompts_of(gallery, [prompts] if prompts else [])[0]
        write_sheet(
            path, loaded, gallery.every(every), kind, settings,
            columns=columns, seed=seed, references=references,
        )  # fmt: skip
    console.print(f"→ {path}")


@app.command("steps")
def steps_command(
    bundle: BundleFolder,
    out: Annotated[Path, typer.Argument(help="A PNG.")],
    prompts: Annotated[list[str] | None, typer.Option("--prompt", help="Repeatable.")] = None,
    guidance: Guidance = None,
    seed: Annotated[int, typer.Option()] = 0,
    steps: Steps = 15,
    sampler: Sampler = "dpmpp_2m",
    threads: Threads = 1,
    device: Device = None,
) -> None:
    """Draw an image's way from noise, step by step, with the network's estimate at each."""
    loaded = _load(bundle, device, threads)
    settings = _settings(loaded, guidance, steps, sampler)
    chosen = prompts or list(loaded.info.examples[:4]) or ["a picture"]
    console.print(f"→ {write_steps(out, loaded, chosen, settings, seed=seed)}")


@app.command("card")
def card_command(bundle: BundleFolder) -> None:
    """Write a bundle's model card from its figures."""
    console.print(f"→ {write_card(bundle)}")


def _gallery(bundle: Path, folder: Path) -> Gallery:
    gallery = load_gallery(folder)
    custom = (bundle / TRAINING).exists() and "data" in read_json(bundle / TRAINING)
    if custom and not gallery.custom:
        raise typer.BadParameter(f"{bundle} was trained on a custom data set: give its --gallery")
    return gallery


def _load(folder: Path, device: str | None, threads: int, backend: str = "torch") -> Bundle:
    torch.set_num_threads(threads)
    return load_bundle(folder, device=device or default_device(), backend=backend)


def _settings(bundle: Bundle, guidance: float | None, steps: int, sampler: str) -> SamplingSettings:
    scale = bundle.info.default_guidance_scale if guidance is None else guidance
    return SamplingSettings(sampler=sampler, steps=steps, guidance_scale=scale)


def main() -> None:
    """Run the command line; an error that the user can fix is one line."""
    quiet_libraries()
    escape_what_streams_lack()
    try:
        app()
    except (ExportError, DiffusionError, OSError) as error:
        console.print(str(error), style="red")
        raise SystemExit(1) from error
