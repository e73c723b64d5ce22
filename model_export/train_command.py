"""``python -m model_export train``."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from model_export.captions import KINDS, MIX, Mix
from model_export.data import Dataset, load_dataset
from model_export.settings import Process, TrainingSettings
from model_export.train import Limit, Progress, stop_on_signals, train

console = Console()

DataFolder = Annotated[Path, typer.Argument(help="A data set: what `data` or `pictures` wrote.")]
Count = Annotated[
    int | None, typer.Option("--emoji", help="How many to train on; all own pictures unless said.")
]
Threads = Annotated[int, typer.Option(help="CPU threads; more than one only on idle cores.")]
Device = Annotated[str | None, typer.Option(help="cpu or cuda; cuda where there is one.")]


class Prediction(StrEnum):
    """What the network predicts."""

    x = "sample"
    v = "v_prediction"
    epsilon = "epsilon"


class Weights(StrEnum):
    """How noise levels are weighted."""

    uniform = "uniform"
    min_snr = "min_snr"


class Precision(StrEnum):
    """What products are computed in."""

    float32 = "float32"
    bfloat16 = "bfloat16"


def emoji_count(dataset: Dataset, asked: int | None) -> int:
    """Return how many pictures are trained on: as asked, or all own ones, or the usual emoji."""
    if asked is not None:
        return asked
    return len(dataset) if dataset.own else TrainingSettings.emoji


def command(
    data: DataFolder,
    run: Annotated[Path, typer.Option(help="The run's folder; a run in it is taken up.")],
    steps: Annotated[int | None, typer.Option(help="Stop after so many steps.")] = None,
    minutes: Annotated[float | None, typer.Option(help="Stop after so much training.")] = None,
    emoji: Count = None,
    batch: Annotated[int, typer.Option(help="Pictures a step.")] = TrainingSettings.batch,
    rate: Annotated[float, typer.Option(help="AdamW's.")] = TrainingSettings.learning_rate,
    prediction: Annotated[Prediction, typer.Option()] = Prediction.x,
    weighting: Annotated[Weights, typer.Option()] = Weights.uniform,
    precision: Annotated[Precision, typer.Option(help="Of products.")] = Precision.float32,
    beta_end: Annotated[float, typer.Option(help="Of scaled-linear noise.")] = Process.beta_end,
    mix: Annotated[Mix, typer.Option(help=f"Shares of an emoji's prompts: {', '.join(KINDS)}.")] = (
        MIX
    ),
    one_step: Annotated[
        bool, typer.Option("--one-step", help="Train a regression from noise, to compare with.")
    ] = False,
    seed: Annotated[int, typer.Option()] = TrainingSettings.seed,
    origin: Annotated[Path | None, typer.Option(help="A run to begin from its weights.")] = None,
    threads: Threads = 1,
    device: Device = None,
) -> None:
    """Train a model, or go on with one; SIGTERM and Ctrl-C save it first."""
    if steps is None and minutes is None:
        raise typer.BadParameter("say --steps or --minutes, or both")
    if one_step and (prediction, weighting) != (Prediction.x, Weights.uniform):
        raise typer.BadParameter(
            "--one-step learns the picture from one noise level: it goes with --prediction sample "
            "and --weighting uniform"
        )
    if not all(0 <= share <= 1 for share in mix):
        raise typer.BadParameter("each share of --mix is between 0 and 1")
    if abs(sum(mix) - 1) > 1e-6:
        raise typer.BadParameter(f"the shares of --mix are to sum to 1, not {sum(mix):g}")
    torch.set_num_threads(threads)
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dataset = load_dataset(data)
    if dataset.own and mix != MIX:
        raise typer.BadParameter("--mix is for emoji: your own pictures have captions of one kind")
    settings = TrainingSettings(
        emoji=emoji_count(dataset, emoji),
        batch=batch,
        learning_rate=rate,
        weighting=weighting.value,
        precision=precision.value,
        seed=seed,
        mix=mix,
        one_step=one_step,
        process=Process(prediction_type=prediction.value, beta_end=beta_end),
    )
    limit = Limit(steps, minutes * 60 if minutes is not None else None)
    with stop_on_signals() as stop:
        trainer = train(
            run, dataset, settings, limit,
            device=place, report=_tell, stop=stop, origin=origin,
        )  # fmt: skip
    console.print(f"{trainer.step} steps → {run}")


def _tell(told: Progress) -> None:
    console.print(
        f"{told.progress:4.0%}  step {told.step}  loss {told.loss:.4f}  "
        f"rate {told.learning_rate:.2e}  {told.pictures_per_s:.0f} pictures/s  "
        f"{told.elapsed_s / 60:.1f} min",
        highlight=False,
        soft_wrap=True,
    )
