"""The training loop: a limit, a learning rate schedule, checkpoints, and a clean stop."""

import json
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import torch
from transformers import PreTrainedTokenizerFast

from diffusion.codec import PatchPCACodec
from model_export.data.data import Dataset
from model_export.training.checkpoint import NAME, load_checkpoint, save_checkpoint
from model_export.training.codec import save_codec, to_tensor
from model_export.training.origin import CODEC, DATA, ORIGIN, load_origin, open_parts
from model_export.training.settings import TrainingSettings
from model_export.training.tokenizer import train_tokenizer
from model_export.training.trainer import Trainer

REPORT_STEPS = 50
LOWEST_RATE = 0.02  # of the learning rate, at the end


@dataclass(frozen=True)
class Limit:
    """When a run is done: after so many steps or so much training time, whichever is first."""

    steps: int | None = None
    seconds: float | None = None

    def progress(self, step: int, elapsed_s: float) -> float:
        """Return how much of the run is done, 0 to 1."""
        shares = [
            done / limit
            for done, limit in ((step, self.steps), (elapsed_s, self.seconds))
            if limit is not None
        ]
        return min(1.0, max(shares, default=0.0))


@dataclass(frozen=True)
class Progress:
    """A report on a running training."""

    step: int
    loss: float  # mean since the last report
    learning_rate: float
    pictures_per_s: float
    elapsed_s: float
    progress: float  # 0 to 1


def learning_rate(settings: TrainingSettings, step: int, progress: float) -> float:
    """Return the rate of a step: a linear warm-up, a plateau, a linear decay."""
    warm = min(1.0, (step + 1) / settings.warmup_steps) if settings.warmup_steps else 1.0
    decay = min(1.0, (1 - progress) / settings.decay_share) if settings.decay_share else 1.0
    return settings.learning_rate * warm * max(LOWEST_RATE, decay)


def train(
    folder: Path,
    dataset: Dataset,
    settings: TrainingSettings,
    limit: Limit,
    *,
    device: torch.device,
    report: Callable[[Progress], None],
    stop: threading.Event,
    origin: Path | None = None,
    save_every_s: float = 60.0,
) -> Trainer:
    """Start or resume the run in ``folder`` until its limit or ``stop``; save and return it.

    A new run may start from the averaged weights of ``origin``, a run or a bundle, with its
    tokenizer and codec.

    Raises:
        CheckpointError: the folder holds a run of other settings or data, or a broken one.
    """
    trainer, elapsed_s = open_run(folder, dataset, settings, device, origin)
    began = monotonic() - elapsed_s
    saved = reported = monotonic()
    losses: list[torch.Tensor] = []
    while not stop.is_set():
        elapsed_s = monotonic() - began
        progress = limit.progress(trainer.step, elapsed_s)
        if progress >= 1:
            break
        rate = learning_rate(settings, trainer.step, progress)
        losses.append(trainer.advance(rate))
        if trainer.step % REPORT_STEPS == 0:
            loss, seen, now = float(torch.stack(losses).mean()), len(losses), monotonic()
            speed = seen * settings.batch / (now - reported)
            reported, losses = now, []
            update = Progress(trainer.step, loss, rate, speed, elapsed_s, progress)
            _log(folder, update)
            report(update)
        if monotonic() - saved >= save_every_s:
            save_checkpoint(folder, trainer.checkpoint(monotonic() - began))
            saved = monotonic()
    save_checkpoint(folder, trainer.checkpoint(monotonic() - began))
    return trainer


def open_run(
    folder: Path,
    dataset: Dataset,
    settings: TrainingSettings,
    device: torch.device,
    origin: Path | None = None,
) -> tuple[Trainer, float]:
    """Return the run in ``folder``, or a new one, and the seconds spent on it.

    Raises:
        CheckpointError: the folder holds a run of other settings or data, or a broken one.
    """
    if not (folder / NAME).exists():
        return _new_run(folder, dataset, settings, device, origin), 0.0
    parts = open_parts(folder, settings)
    trainer = Trainer(settings, dataset.trained(settings.emoji), *parts, device)
    checkpoint = load_checkpoint(folder)
    trainer.restore(checkpoint)
    return trainer, checkpoint.elapsed_s


def _new_run(
    folder: Path,
    dataset: Dataset,
    settings: TrainingSettings,
    device: torch.device,
    origin: Path | None,
) -> Trainer:
    start = load_origin(origin, settings) if origin else None
    parts = start.parts if start else new_parts(dataset, settings)
    trainer = Trainer(settings, dataset.trained(settings.emoji), *parts, device)
    folder.mkdir(parents=True, exist_ok=True)
    if start:
        trainer.start_from(start.weights)
        (folder / ORIGIN).write_text(json.dumps(start.record, indent=2) + "\n")
    if dataset.custom:
        (folder / DATA).write_text(
            json.dumps(dataset.summary(), ensure_ascii=False) + "\n", "utf-8"
        )
    tokenizer, codec = parts
    tokenizer.save_pretrained(str(folder / "tokenizer"))
    save_codec(folder / CODEC, codec)
    return trainer


def new_parts(
    dataset: Dataset, settings: TrainingSettings
) -> tuple[PreTrainedTokenizerFast, PatchPCACodec]:
    """Return a tokenizer and a codec fitted to a data set."""
    network = settings.network
    tokenizer = train_tokenizer(
        dataset.texts(), vocab_size=network.vocab_size, tokens=network.tokens
    )
    images = to_tensor(dataset.gallery().images)
    patch = images.shape[-1] // network.sample_size
    codec = PatchPCACodec.fit(images, patch, network.latent_channels, settings.codec_power)
    return tokenizer, codec


def _log(folder: Path, update: Progress) -> None:
    with (folder / "log.jsonl").open("a") as file:
        file.write(json.dumps(vars(update)) + "\n")


@contextmanager
def stop_on_signals() -> Iterator[threading.Event]:
    """Yield an event that SIGTERM or SIGINT sets, so that a run can save before it ends."""
    stop = threading.Event()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda *_: stop.set()) for number in numbers}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
