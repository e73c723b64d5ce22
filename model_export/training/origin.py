"""What a training run starts from: the weights of another run, or of a bundle."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from tokenizers import Tokenizer
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from diffusion.codec import PatchPCACodec
from diffusion.files import read_json
from diffusion.parts.open import load_codec
from model_export.errors import CheckpointError
from model_export.training.checkpoint import NAME, Checkpoint, load_checkpoint
from model_export.training.network import NETWORKS
from model_export.training.settings import TrainingSettings
from model_export.training.tokenizer import wrap_tokenizer

TRAINING = "training.json"  # in a bundle: how it was trained
ORIGIN = "origin.json"  # in a run that started from other weights: their record
DATA = "data.json"  # in a run on a custom data set: its summary
CODEC = "codec"  # a run's codec; a bundle's is its "vae"

Parts = tuple[PreTrainedTokenizerFast, PatchPCACodec]


@dataclass(frozen=True, eq=False)
class Origin:
    """Weights to start from, the tokenizer and codec of their data, and their training record."""

    weights: dict[str, Tensor]  # of ``Networks``
    parts: Parts
    record: dict[str, Any]


def load_origin(folder: Path, settings: TrainingSettings) -> Origin:
    """Read a run's averaged weights, or a bundle's.

    Raises:
        ExportError: the folder holds neither, or it is broken.
        BundleError: the bundle's codec or training record is missing or broken.
    """
    if (folder / NAME).exists():
        checkpoint = load_checkpoint(folder)
        record = run_record(folder, checkpoint)
        return Origin(checkpoint.part("ema"), open_parts(folder, settings), record)
    weights = {
        f"{network}.{name}": tensor.float()
        for network in NETWORKS
        for name, tensor in _weights(folder / network).items()
    }
    return Origin(weights, open_parts(folder, settings, "vae"), read_json(folder / TRAINING))


def run_record(run: Path, checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what a bundle or a later run records of a run: its settings, origin and data."""
    record = checkpoint.record()
    for key, name in (("origin", ORIGIN), ("data", DATA)):
        if (run / name).exists():
            record[key] = read_json(run / name)
    return record


def lineage(record: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the records of the runs that led to a model, the first one first."""
    return [*(lineage(record["origin"]) if "origin" in record else []), record]


def mean_of_lineage(
    weights: dict[str, Tensor], record: dict[str, Any], others: Sequence[Origin]
) -> tuple[dict[str, Tensor], list[int]]:
    """Return the mean of a run's weights and its ancestors', and the numbers of all these runs.

    Fine-tuned weights share a basin of the loss with those they started from, and a point between
    the two is often good at what each was trained on (Wortsman et al. 2022, *Robust fine-tuning of
    zero-shot models*).

    Raises:
        CheckpointError: one of the others is no run that led to this one, is a mean of several
            itself, or is given twice.
    """
    runs = [_identity(each) for each in lineage(record)]
    numbers = [len(runs)]
    for other in others:
        if _identity(other.record) not in runs[:-1]:
            raise CheckpointError(
                "weights have a mean only with those of runs that led to them, see origin.json"
            )
        if "mean_of" in other.record:
            raise CheckpointError("weights that are a mean themselves are of no single run")
        numbers.append(1 + runs.index(_identity(other.record)))
    if len(set(numbers)) < len(numbers):
        raise CheckpointError("the mean takes each run once")
    parts = [weights, *(other.weights for other in others)]
    mean = {name: torch.stack([part[name] for part in parts]).mean(0) for name in weights}
    return mean, sorted(numbers)


def _identity(record: dict[str, Any]) -> tuple[int, str, dict[str, Any]]:
    return record["step"], record["dataset"], record["settings"]


def _weights(folder: Path) -> dict[str, Tensor]:
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise CheckpointError(f"{folder.parent} is neither a training run nor a small bundle")
    try:
        return load_file(files[0])
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{files[0]}: {error}") from error


def open_parts(folder: Path, settings: TrainingSettings, codec: str = CODEC) -> Parts:
    """Return the tokenizer and codec that a run fitted to its data before the first step.

    Raises:
        CheckpointError: the tokenizer is missing or broken.
        BundleError: the codec is.
    """
    path = folder / "tokenizer" / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises nothing narrower
        raise CheckpointError(f"{path}: {error}") from error
    return wrap_tokenizer(tokenizer, settings.network.tokens), load_codec(folder / codec)
