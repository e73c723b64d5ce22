"""A training run's state in one safetensors file, with its record as JSON in the header."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from model_export.errors import CheckpointError

FORMAT = 1
NAME = "checkpoint.safetensors"


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Weights, their moving average and the optimizer's moments after ``step`` steps."""

    step: int
    elapsed_s: float  # spent training, over all sessions
    settings: dict[str, Any]
    dataset: str  # the fingerprint
    tensors: dict[str, Tensor]  # "networks.…", "ema.…", "exp_avg.…", "exp_avg_sq.…"

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Return the tensors under a prefix, without it."""
        start = f"{prefix}."
        return {k.removeprefix(start): v for k, v in self.tensors.items() if k.startswith(start)}

    def record(self) -> dict[str, Any]:
        """Return everything but the tensors."""
        return {
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "settings": self.settings,
            "dataset": self.dataset,
        }


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write the checkpoint atomically: a crash leaves the previous one."""
    record = {"format": FORMAT, **checkpoint.record()}
    fresh = folder / f".{NAME}.{os.getpid()}"
    tensors = {key: value.detach().contiguous() for key, value in checkpoint.tensors.items()}
    save_file(tensors, fresh, {"format": "pt", "record": json.dumps(record)})
    with fresh.open("rb") as file:
        os.fsync(file.fileno())
    return fresh.replace(folder / NAME)


def load_checkpoint(folder: Path) -> Checkpoint:
    """Read the folder's checkpoint.

    Raises:
        CheckpointError: it is missing, broken or of another format.
    """
    path = folder / NAME
    try:
        with safe_open(path, "pt") as file:
            record = json.loads((file.metadata() or {})["record"])
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - no dict
    except (OSError, KeyError, ValueError, SafetensorError) as error:
        raise CheckpointError(f"{path} is not a checkpoint ({error})") from error
    if record.pop("format") != FORMAT:
        raise CheckpointError(f"{path} is of another format")
    return Checkpoint(**record, tensors=tensors)
