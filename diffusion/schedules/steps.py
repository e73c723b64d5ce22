"""Which of a scheduler's steps our samplers take: the keys that choose them."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from diffusion.errors import ScheduleError
from diffusion.schedules.keys import SPREAD_FLAGS

MIDPOINT = ("midpoint", "bh1", "bh2", "logrho")  # diffusers takes the last three for the first
VARIANCES = ("fixed_small", "fixed_small_log", "fixed_large", None)
# True where it is left out.
UNCLIPPED: Mapping[str, tuple[object, ...]] = {"clip_sample": (False, None)}
FOLLOWED: Mapping[str, Mapping[str, tuple[object, ...]]] = {
    "DPMSolverMultistepScheduler": {"solver_type": MIDPOINT, "variance_type": (None,)},
    "EDMDPMSolverMultistepScheduler": {"solver_type": MIDPOINT},
    "UniPCMultistepScheduler": {
        "solver_type": ("bh2", "midpoint", "heun", "logrho"),
        "solver_order": (2,),
        "predict_x0": (True,),
        "lower_order_final": (True,),
        "disable_corrector": ([], None),
        "solver_p": (None,),
    },
    "DEISMultistepScheduler": {"solver_order": (2,)},
    # They clip the estimate, but not the noise that they step with.
    "DDIMScheduler": UNCLIPPED,
    "DDIMParallelScheduler": UNCLIPPED,
    "DDPMScheduler": {"variance_type": VARIANCES},
    "DDPMParallelScheduler": {"variance_type": VARIANCES},
    "PNDMScheduler": {"skip_prk_steps": (True,)},
    "EulerDiscreteScheduler": {"interpolation_type": ("linear",)},
}
"""The values, where not every one leads to the steps of our sampler."""
FEW_STEPS = 15  # below, diffusers' solvers end at first order


def check_steps(scheduler: str, config: Mapping[str, Any]) -> None:
    """Check a completed configuration.

    Raises:
        ScheduleError: its steps are not those of our sampler; the message names the key.
    """
    for key, values in FOLLOWED.get(scheduler, {}).items():
        if key in config and config[key] not in values:
            raise ScheduleError(f"{scheduler} with {key} {config[key]!r} has no sampler of ours")


def solver_sampler(config: Mapping[str, Any]) -> str:
    """Return our sampler for the variant of DPM-Solver that a configuration asks for.

    Raises:
        ScheduleError: we have none.
    """
    kind, order = config["algorithm_type"], config["solver_order"]
    found = {
        ("dpmsolver++", 1): "ddim", ("dpmsolver++", 2): "dpmpp_2m",
        ("sde-dpmsolver++", 2): "dpmpp_2m_sde",
        ("deis", 1): "ddim", ("deis", 2): "dpmpp_2m",
    }.get((kind, order))  # fmt: skip
    if found is None:
        raise ScheduleError(f"algorithm_type {kind!r} of solver_order {order} is not served")
    return found


def only_spread(config: Mapping[str, Any]) -> str | None:
    """Return the spacing of σ itself that a configuration asks for.

    Raises:
        ScheduleError: it asks for two.
    """
    asked = [key for key in reversed(SPREAD_FLAGS) if config.get(key)]
    if len(asked) > 1:
        raise ScheduleError(f"only one of {' and '.join(asked)} may be true")
    return asked[0].removeprefix("use_").removesuffix("_sigmas") if asked else None


def first_order_below(config: Mapping[str, Any]) -> float:
    """Return the number of steps below which a solver's last step is first order."""
    if config.get("euler_at_final"):
        return np.inf
    return FEW_STEPS if config.get("lower_order_final") else 0
