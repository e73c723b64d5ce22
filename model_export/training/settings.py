"""The identity of a training run: it is resumed only with equal settings."""

from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from diffusion.schedules.precondition import PredictionType
from model_export.data.captions import MIX, Mix
from model_export.training.network import NetworkSettings

FIRST_MIX = (0.35, 0.10, 0.15, 0.28, 0.12)  # of records that lack one
Weighting = Literal["uniform", "min_snr"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Process:
    """The forward process a model is trained on, in diffusers' names."""

    prediction_type: PredictionType = "sample"
    beta_schedule: str = "scaled_linear"
    beta_start: float = 0.00085
    beta_end: float = 0.012
    num_train_timesteps: int = 1000


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained; the defaults are those of the shipped model."""

    emoji: int = 640  # images trained on
    batch: int = 16
    learning_rate: float = 1e-3
    warmup_steps: int = 200
    decay_share: float = 0.25  # of the run, over which the rate decays to nearly 0
    weight_decay: float = 0.01
    betas: tuple[float, float] = (0.9, 0.99)
    gradient_norm: float = 1.0  # gradients are clipped to it
    weighting: Weighting = "uniform"
    min_snr_gamma: float = 5.0
    prompt_drop: float = 0.12
    mix: Mix = MIX  # shares of the kinds of prompts, see model_export.data.captions
    ema_decay: float = 0.999
    codec_power: float = 0.5
    one_step: bool = False  # a regression from pure noise to the image, for comparison
    precision: Precision = "float32"  # of products; weights and sums stay float32
    seed: int = 0
    process: Process = field(default_factory=Process)
    network: NetworkSettings = field(default_factory=NetworkSettings)


def settings_of(record: dict[str, Any]) -> TrainingSettings:
    """Return the settings that ``asdict`` turned into ``record``, after JSON.

    Raises:
        TypeError: an unknown field.
    """
    network = NetworkSettings(
        **{**record["network"], "channels": tuple(record["network"]["channels"])}
    )
    process = Process(**record["process"])
    betas, mix = tuple(record["betas"]), tuple(record.get("mix", FIRST_MIX))
    mix += (0.0,) * (len(MIX) - len(mix))  # older records know fewer kinds
    built = {"betas": betas, "mix": mix, "process": process, "network": network}
    return TrainingSettings(**{**record, **built})


def differences(mine: TrainingSettings, other: TrainingSettings) -> list[str]:
    """Return one line per field in which the two differ."""
    ours, theirs = asdict(mine), asdict(other)
    names = [f.name for f in fields(TrainingSettings)]
    return [f"{n}: {theirs[n]!r} → {ours[n]!r}" for n in names if ours[n] != theirs[n]]
