"""The shift of a flow's times towards noise: larger images need more (Esser et al. 2024)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diffusion.errors import ScheduleError

Array = NDArray[np.float64]


@dataclass(frozen=True)
class DynamicShift:
    """A shift that depends on the image's size: μ is linear in its tokens."""

    base_shift: float = 0.5
    max_shift: float = 1.15
    base_tokens: int = 256
    max_tokens: int = 4096
    kind: Literal["exponential", "linear"] = "exponential"

    def factor(self, image_tokens: int) -> float:
        """Return k, e^μ or μ.

        Raises:
            ScheduleError: no shift at all comes of so few tokens.
        """
        slope = (self.max_shift - self.base_shift) / (self.max_tokens - self.base_tokens)
        mu = self.base_shift + slope * (image_tokens - self.base_tokens)
        k = float(np.exp(mu)) if self.kind == "exponential" else mu
        if not 0 < k < np.inf:
            raise ScheduleError(f"time_shift_type {self.kind!r} has no shift of {mu:g}")
        return k


@dataclass(frozen=True)
class Shift:
    """t' = k·t/(1 + (k − 1)·t)."""

    static: float = 1.0  # k
    dynamic: DynamicShift | None = None  # instead

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "Shift":
        """Read the keys of a checked ``scheduler_config.json``.

        Raises:
            ScheduleError: a size that depends on nothing.
        """
        name = str(config.get("_class_name"))
        key = "shift" if name.startswith("FlowMatch") else "flow_shift"
        static = float(config.get(key, 1.0))
        # Heun's scheduler knows only the static one.
        if not config.get("use_dynamic_shifting") or name == "FlowMatchHeunDiscreteScheduler":
            return cls(static)
        base = config.get("base_image_seq_len", 256)
        most = config.get("max_image_seq_len", 4096)
        if base == most:
            raise ScheduleError("base_image_seq_len and max_image_seq_len are the same")
        low, high = (config.get(f"{end}_shift") for end in ("base", "max"))
        low, high = 0.5 if low is None else low, 1.15 if high is None else high
        kind = config.get("time_shift_type", "exponential")
        return cls(static, DynamicShift(low, high, base, most, kind))

    @property
    def first(self) -> float:
        """The k of the training timesteps, which a scheduler may shift a second time."""
        return self.static if self.dynamic is None else 1.0

    def factor(self, image_tokens: int | None) -> float:
        """Return k for an image of this size.

        Raises:
            ScheduleError: it depends on the size, which is not given.
        """
        if self.dynamic is None:
            return self.static
        if image_tokens is None:
            raise ScheduleError("use_dynamic_shifting: the number of image tokens is not known")
        return self.dynamic.factor(image_tokens)


def shifted(times: Array, k: float) -> Array:
    """Return t' of times in (0, 1]; 1 stays 1."""
    return np.where(times == 1, 1.0, k * times / (1 + (k - 1) * times))
