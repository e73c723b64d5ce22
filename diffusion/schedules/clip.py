"""The bounds that a model's scheduler keeps the denoised estimate within: of models of pixels."""

from collections.abc import Mapping
from typing import Any

from diffusion.errors import ScheduleError

BY_DEFAULT: Mapping[str, bool] = {
    "DDIMScheduler": True,
    "DDIMParallelScheduler": True,
    "DDPMScheduler": True,
    "DDPMParallelScheduler": True,
    "HeunDiscreteScheduler": False,
    "LCMScheduler": False,
    "TCDScheduler": False,
}
"""diffusers' schedulers that can clip; the others pass the key over."""


def estimate_bound(config: Mapping[str, Any]) -> float | None:
    """Return c if the estimate is clipped to [−c, c], None if it is not."""
    default = BY_DEFAULT.get(str(config.get("_class_name")))
    if default is None or not config.get("clip_sample", default):
        return None
    return float(config.get("clip_sample_range", 1.0))


def check_clipped(config: Mapping[str, Any]) -> None:
    """Refuse a scheduler that clips the estimate and steps with the noise from before.

    Raises:
        ScheduleError: it does; a sampler of ours takes the noise that the clipped estimate leaves.
    """
    if config.get("_class_name") == "DDIMScheduler" and estimate_bound(config) is not None:
        raise ScheduleError("DDIMScheduler with clip_sample clips the estimate but not the noise")
