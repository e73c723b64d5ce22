"""``python -m model_export``: from pictures and captions to a measured model bundle."""

from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import Progress as Bar

from diffusion.bundle import Bundle, load_bundle
from diffusion.bundle_files import read_json
from diffusion.errors import DiffusionError
from model_export.bundle import Defaults, bundle_run
from model_export.card import SHEET, write_card
from model_export.data import build_dataset, load_dataset, save_dataset
from model_export.errors import ExportError
from model_export.evaluate import SEEDS, Run, bounds, evaluate, prompts_of, record
from model_export.font import NOTO, EmojiFont
from model_export.gallery import HERE, Gallery, load_gallery, make_gallery, save_gallery
from model_export.held_out_command import command as held_out_command
from model_export.labels import read_labels
from model_export.origin import TRAINING
from model_export.pictures import command as pictures_command
from model_export.quality_command import command as quality_command
from model_export.quiet import quiet_libraries
from model_export.sampling import SamplingSettings
from model_export.sheet import write_seeds, write_sheet, write_steps
from model_export.train_command import Count, DataFolder, Device, Threads, emoji_count
from model_export.train_command import command as train_command

app = typer.Typer(no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)
app.command("pictures")(pictures_command)
app.command("train")(train_command)
app.command("held-out")(held_out_command)
app.command("quality")(quality_command)
console = Console()

BundleFolder = Annotated[Path, typer.Argument(help="A model bundle.")]
GalleryFolder = Annotated[Path, typer.Option("--gallery", help="The reference pictures.")]
Steps = Annotated[int, typer.Option(help="Sampling steps.")]
Sampler = Annotated[str, typer.Option(help="The sampler.")]


class Language(StrEnum):
    """Which prompts are drawn."""

    en = "en"
    zh = "zh"
    tags = "tags"
    caption = "caption"


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
    out: Annotated[Path, typer.Option(help="Where the gallery goes.")] = HERE,
) -> None:
    """Write the reference pictures that drawings are measured against."""
    dataset = load_dataset(data)
    if dataset.own and out == HERE:
        raise typer.BadParameter("say --out: that of emoji is not for your own pictures")
    gallery = make_gallery(dataset, emoji_count(dataset, emoji))
    save_gallery(gallery, out)
    things, count = "pictures" if dataset.own else "emoji", len(gallery.trained)
    console.print(f"{len(gallery.emoji)} {things}, {count} of them trained on → {out}")


@app.command("bundle")
def bundle_command(
    run: Annotated[Path, typer.Argument(help="A training run's folder.")],
    out: Annotated[Path, typer.Argument(help="Where the bundle goes; one there is replaced.")],
    guidance: Annotated[float, typer.Option(help="The default guidance scale.")] = (
        Defaults.default_guidance_scale
    ),
) -> None:
    """Write a run's averaged weights as a bundle that the service loads."""
    bundle_run(run, out, Defaults(default_guidance_scale=guidance))
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    console.print(f"{size / 1e6:.1f} MB → {out}")


@app.command("evaluate")
def evaluate_command(
    bundle: BundleFolder,
    prompts: Annotated[list[Language] | None, typer.Option(help="All, unless said.")] = None,
    guidance: Annotated[list[float] | None, typer.Option(help="The model's own.")] = None,
    steps: Steps = 15,
    sampler: Sampler = "dpmpp_2m",
    seeds: Annotated[int, typer.Option(help="Drawings of each emoji.")] = SEEDS,
    every: Annotated[int, typer.Option(help="Draw each n-th emoji only.")] = 1,
    gallery_folder: GalleryFolder = HERE,
    threads: Threads = 1,
    device: Device = None,
) -> None:
    """Measure a bundle and keep the figures in its evaluation.json."""
    torch.set_num_threads(threads)
    loaded = _load(bundle, device)
    whole = _gallery(bundle, gallery_folder)
    gallery, limits = whole.every(every), bounds(bundle, whole)
    kinds = prompts_of(gallery, [p.value for p in prompts or []])
    with Bar(console=console, transient=True) as bar:
        for scale in guidance or [loaded.info.default_guidance_scale]:
            settings = SamplingSettings(sampler=sampler, steps=steps, guidance_scale=scale)
            for kind in kinds:
                task = bar.add_task(
                    f"{kind}, guidance {scale:g}", total=len(gallery.trained) * seeds
                )
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
        + (f"  diversity {m.diversity:.2f}" if m.diversity is not None else ""),
        highlight=False,
        soft_wrap=True,
    )


@app.command("sheet")
def sheet_command(
    bundle: BundleFolder,
    out: Annotated[Path | None, typer.Option(help="A PNG; in the bundle unless said.")] = None,
    prompts: Annotated[Language | None, typer.Option(help="English or captions.")] = None,
    prompt: Annotated[
        list[str] | None, typer.Option(help="Others: each a row, a seed a column. Several may be.")
    ] = None,
    guidance: Annotated[float | None, typer.Option(help="The model's own.")] = None,
    every: Annotated[int, typer.Option(help="Draw each n-th emoji only.")] = 4,
    columns: Annotated[int, typer.Option()] = 16,
    references: Annotated[bool, typer.Option(help="Each beside its reference.")] = False,
    seed: Annotated[int, typer.Option()] = 0,
    steps: Steps = 15,
    sampler: Sampler = "dpmpp_2m",
    gallery_folder: GalleryFolder = HERE,
    threads: Threads = 1,
    device: Device = None,
) -> None:
    """Draw the trained emoji on one contact sheet."""
    torch.set_num_threads(threads)
    loaded = _load(bundle, device)
    scale = loaded.info.default_guidance_scale if guidance is None else guidance
    settings = SamplingSettings(sampler=sampler, steps=steps, guidance_scale=scale)
    if prompt:
        if out is None:
            raise typer.BadParameter(
                "say --out: the bundle's own sheet is of what it was trained on"
            )
        write_seeds(out, loaded, prompt, settings, columns=columns, seed=seed)
        console.print(f"→ {out}")
        return
    gallery = _gallery(bundle, gallery_folder)
    path = write_sheet(
        out or bundle / SHEET,
        loaded,
        gallery.every(every),
        prompts_of(gallery, [prompts.value] if prompts else [])[0],
        settings,
        columns=columns,
        seed=seed,
        references=references,
    )
    console.print(f"→ {path}")


@app.command("steps")
def steps_command(
    bundle: BundleFolder,
    out: Annotated[Path, typer.Argument(help="A PNG.")],
    prompts: Annotated[list[str] | None, typer.Option("--prompt", help="Several may be.")] = None,
    guidance: Annotated[float | None, typer.Option(help="The model's own.")] = None,
    seed: Annotated[int, typer.Option()] = 0,
    steps: Steps = 15,
    sampler: Sampler = "dpmpp_2m",
    threads: Threads = 1,
    device: Device = None,
) -> None:
    """Draw a picture's way from noise, step by step, and what the network makes of each."""
    torch.set_num_threads(threads)
    loaded = _load(bundle, device)
    scale = loaded.info.default_guidance_scale if guidance is None else guidance
    settings = SamplingSettings(sampler=sampler, steps=steps, guidance_scale=scale)
    chosen = prompts or list(loaded.info.examples[:4]) or ["a picture"]
    console.print(f"→ {write_steps(out, loaded, chosen, settings, seed=seed)}")


@app.command("card")
def card_command(bundle: BundleFolder) -> None:
    """Write a bundle's model card from its figures."""
    console.print(f"→ {write_card(bundle)}")


def _gallery(bundle: Path, folder: Path) -> Gallery:
    gallery = load_gallery(folder)
    own = (bundle / TRAINING).exists() and "data" in read_json(bundle / TRAINING)
    if own and not gallery.own:
        raise typer.BadParameter(f"{bundle} draws your own pictures: say --gallery, of those")
    return gallery


def _load(folder: Path, device: str | None) -> Bundle:
    return load_bundle(folder, device=device or ("cuda" if torch.cuda.is_available() else "cpu"))


def main() -> None:
    """Run the command line; what a user can mend is told in a line."""
    quiet_libraries()
    try:
        app()
    except (ExportError, DiffusionError, OSError) as error:
        console.print(str(error), style="red", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(1) from error
