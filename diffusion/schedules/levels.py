"""The noise levels that a job visits."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffusion.errors import ScheduleError

Array = NDArray[np.float64]
OWN = "model"
"""The schedule of the model's own scheduler."""


@dataclass(frozen=True, eq=False)
class Levels:
    """The noise levels one job visits.

    The first may be infinite: there the state is unit noise, whatever ``initial_scale`` says. The
    last is 0, or above it if the image is to be what a model's own scheduler leaves there.
    """

    schedule: str
    sigmas: Array  # (n + 1,) strictly decreasing
    timesteps: Array  # (n,) c_noise of the first n levels
    initial_scale: float | None = None  # S[0] starts as this times unit noise; None: the process'
    final_scale: float = 1.0  # the image is this times S[0]
    first_order_end: bool = False  # of the last step, if it ends above 0
    large_noise: bool = False  # DDPM's steps add noise of β_t, not of the posterior's variance
    in_time: bool = False  # Heun's steps are taken in t = σ/(1 + σ)

    def __post_init__(self) -> None:
        """Refuse levels that do not strictly decrease."""
        if not np.all(self.sigmas[1:] < self.sigmas[:-1]):
            raise ScheduleError(
                f"the {len(self.timesteps)} levels of schedule {self.schedule!r} do not fall"
            )

    @property
    def steps(self) -> int:
        """n."""
        return len(self.timesteps)
