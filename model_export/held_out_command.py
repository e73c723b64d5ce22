"""``python -m model_export held-out``: prompts beyond those of training, measured."""

from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import Progress

from diffusion.bundle import load_bundle
from model_export.evaluate import read_evaluation
from model_export.gallery import HERE, load_gallery
from model_export.held_out import (
    drawings_of,
    measure_held_out,
    read_held_out,
    record_held_out,
)
from model_export.sampling import SamplingSettings

console = Console()


def command(
    bundle: Annotated[Path, typer.Argument(help="A model bundle that was evaluated.")],
    seeds: Annotated[int, typer.Option(help="Drawings of each prompt.", min=1)] = 4,
    steps: Annotated[int, typer.Option(help="Sampling steps.")] = 15,
    sampler: Annotated[str, typer.Option(help="The sampler.")] = "dpmpp_2m",
    gallery_folder: Annotated[
        Path, typer.Option("--gallery", help="The reference pictures.")
    ] = HERE,
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
) -> None:
    """Measure a bundle on prompts that it was not trained on, beside its other figures."""
    torch.set_num_threads(threads)
    read_evaluation(bundle)  # refused before the drawing rather than after
    device = "cuda" if torch.cuda.is_available() else "cpu"
    loaded = load_bundle(bundle, device=device, backend="auto")
    gallery = load_gallery(gallery_folder)
    scale = loaded.info.default_guidance_scale
    settings = SamplingSettings(sampler=sampler, steps=steps, guidance_scale=scale)
    runs = []
    with Progress(console=console, transient=True) as bar:
        for held in read_held_out(gallery):
            task = bar.add_task(held.kind, total=drawings_of(held) * seeds)
            advance = partial(bar.advance, task)
            run = measure_held_out(loaded, gallery, held, settings, seeds=seeds, progress=advance)
            figures = "  ".join(f"{name} {value:.3f}" for name, value in run.measures.items())
            console.print(f"{run.kind:12s}  {figures}", highlight=False, soft_wrap=True)
            runs.append(run)
    console.print(f"→ {record_held_out(bundle, runs)}", soft_wrap=True)
