"""``python -m model_export train``."""

from pathlib import Path
from typing import Annotated

import torch
import typer

from diffusion.schedules.precondition import PredictionType
from model_export.data.captions import KINDS, MIX, Mix
from model_export.data.data import Dataset, load_dataset
from model_export.terminal import plain_console
from model_export.training.settings import Precision, Process, TrainingSettings, Weighting
from model_export.training.train import Limit, Progress, stop_on_signals, train

console = plain_console()

DataFolder = Annotated[Path, typer.Argument(help="A data set, from `data` or `pictures`.")]
Count = Annotated[
    int | None, typer.Option("--emoji", help="How many to train on; default: 640 emoji, or all.")
]
Threads = Annotated[int, typer.Option(help="CPU threads; more than one only on idle cores.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; cuda if there is one.")]


def emoji_count(dataset: Dataset, asked: int | None) -> int:
    """Return how many examples to train on: as asked, all of a custom data set, or the default."""
    if asked is not None:
        return asked
    return len(dataset) if dataset.custom else TrainingSettings.emoji


def default_device() -> str:
    """Return cuda if there is one, otherwise cpu."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def command(
    data: DataFolder,
    run: Annotated[Path, typer.Option(help="The run's folder; a run in it is resumed.")],
    steps: Annotated[int | None, typer.Option(help="Stop after so many steps.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so much training.")] = None,
    emoji: Count = None,
    batch: Annotated[int, typer.Option(help="Images per step.")] = TrainingSettings.batch,
    rate: Annotated[float, typer.Option(help="AdamW's.")] = TrainingSettings.learning_rate,
    prediction: Annotated[PredictionType, typer.Option()] = "sample",
    weighting: Annotated[Weighting, typer.Option()] = "uniform",
    precision: Annotated[Precision, typer.Option(help="Of products.")] = "float32",
    beta_end: Annotated[float, typer.Option(help="Of scaled-linear noise.")] = Process.beta_end,
    mix: Annotated[
        Mix,
        typer.Option(
            help=f"Shares of an emoji's prompts, with spaces between: {', '.join(KINDS)}."
        ),
    ] = MIX,
    one_step: Annotated[
        bool, typer.Option("--one-step", help="Train a regression from noise, for comparison.")
    ] = False,
    seed: Annotated[int, typer.Option()] = TrainingSettings.seed,
    origin: Annotated[
        Path | None, typer.Option(help="A run or a bundle to take the first weights from.")
    ] = None,
    threads: Threads = 1,
    device: Device = None,
) -> None:
    """Train a model, or resume training; SIGTERM and Ctrl-C save it first."""
    if steps is None and minutes is None:
        raise typer.BadParameter("give --steps, --minutes or both")
    if one_step and (prediction, weighting) != ("sample", "uniform"):
        raise typer.BadParameter(
            "--one-step learns the image from one noise level: it goes with --prediction sample "
            "and --weighting uniform"
        )
    _check_mix(mix)
    torch.set_num_threads(threads)
    dataset = load_dataset(data)
    if dataset.custom and mix != MIX:
        raise typer.BadParameter("--mix is for emoji: a custom data set has one kind of captions")
    settings = TrainingSettings(
        emoji=emoji_count(dataset, emoji),
        batch=batch,
        learning_rate=rate,
        weighting=weighting,
        precision=precision,
        seed=seed,
        mix=mix,
        one_step=one_step,
        process=Process(prediction_type=prediction, beta_end=beta_end),
    )
    limit = Limit(steps, minutes * 60 if minutes is not None else None)
    with stop_on_signals() as stop:
        trainer = train(
            run, dataset, settings, limit,
            device=torch.device(device or default_device()),
            report=_report, stop=stop, origin=origin,
        )  # fmt: skip
    console.print(f"{trainer.step} steps → {run}")


def _check_mix(mix: Mix) -> None:
    if not all(0 <= share <= 1 for share in mix):
        raise typer.BadParameter("each share of --mix must be between 0 and 1")
    if abs(sum(mix) - 1) > 1e-6:
        raise typer.BadParameter(f"the shares of --mix must sum to 1, not {sum(mix):g}")


def _report(progress: Progress) -> None:
    console.print(
        f"{progress.progress:4.0%}  step {progress.step}  loss {progress.loss:.4f}  "
        f"rate {progress.learning_rate:.2e}  {progress.pictures_per_s:.0f} images/s  "
        f"{progress.elapsed_s / 60:.1f} min"
    )
