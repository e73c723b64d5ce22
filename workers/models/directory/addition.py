"""What `add` was asked for."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Addition:
    """A model to add, and how."""

    source: str
    name: str | None = None
    sha256: str | None = None
    variant: str | None = None
    prediction: str | None = (
        None  # what its network predicts, if its files do not say, or say wrong
    )
    zero_snr: bool = False  # likewise, that it was trained with zero terminal SNR
    ema: bool = False  # take a single file's moving averages
    vae: Path | None = None
    loras: tuple[tuple[Path, float], ...] = ()
    replace: bool = False
    tried: bool = True  # whether it has to draw before it is installed

    @property
    def options(self) -> tuple[str, ...]:
        """What makes another model of the same source, in words."""
        given = {
            "variant": self.variant,
            "prediction": self.prediction,
            "zero_snr": self.zero_snr,
            "ema": self.ema,
        }
        return tuple(
            key if value is True else f"{key} {value}" for key, value in given.items() if value
        )
