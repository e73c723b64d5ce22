"""The times that a flow model's own scheduler visits, from diffusers' ``scheduler_config.json``.

What diffusers does by accident is not copied: solvers ask the network at whole timesteps, and DEIS
repeats its last level and never reaches 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from diffusion.errors import ScheduleError
from diffusion.schedules.keys import completed
from diffusion.schedules.shift import Shift, shifted
from diffusion.schedules.spread import spread
from diffusion.schedules.steps import check_steps, only_spread, solver_sampler

Array = NDArray[np.float64]
Ends = Literal["once_shifted", "twice_shifted"]
Grid = Literal["once_shifted", "twice_shifted", "above_zero", "below_one"]
LARGEST = 1 - 1e-6  # where UniPC starts instead of at 1
SAMPLERS: Mapping[str, str] = {
    "FlowMatchEulerDiscreteScheduler": "euler",
    "FlowMatchHeunDiscreteScheduler": "heun",
    "FlowMatchLCMScheduler": "lcm",
    "DPMSolverMultistepScheduler": "dpmpp_2m",
    "DEISMultistepScheduler": "deis",
    "UniPCMultistepScheduler": "unipc",
}
"""diffusers' schedulers of flows, and our sampler that takes their steps."""


@dataclass(frozen=True)
class FlowOwn:
    """How a flow model's scheduler spaces its times."""

    sampler: str  # of ours, that takes its steps
    grid: Grid = "twice_shifted"
    smallest: float = 0.001  # where the twice shifted times end, before their second shift
    terminal: float = 0.0  # the last time above 0, if times are stretched to end there
    spread: str | None = None  # a spacing between the first time and the last instead
    in_time: bool = False  # Heun's steps are taken in t

    def times(self, total: int, steps: int, k: float) -> Array:
        """Return the times (n,) of ``steps`` steps, falling from 1 or near it.

        Args:
            total: T, the number of training timesteps.
            steps: n.
            k: the shift.
        """
        times = shifted(self._grid(total, steps), k)
        if self.terminal and times[-1] < 1:
            times = 1 - (1 - times) * (1 - self.terminal) / (1 - times[-1])
        if self.spread is not None:
            times = spread(self.spread, 1.0, times[-1], steps)
            times[0] = 1.0
        if self.sampler == "unipc":
            times[0] = min(times[0], LARGEST)
        return times

    def _grid(self, total: int, steps: int) -> Array:
        if self.grid == "once_shifted":
            return 1 - np.arange(steps) / steps
        if self.grid == "twice_shifted":
            return np.linspace(1, self.smallest, steps)
        if self.grid == "below_one":
            return 1 - np.linspace(1, 1 / total, steps + 1)[:0:-1]
        return np.linspace(1, 1 / total, steps + 1)[:-1]


def flow_own(config: Mapping[str, Any], shift: Shift, ends: Ends) -> FlowOwn:
    """Read a configuration, whose shift has been read.

    Raises:
        ScheduleError: a scheduler, or a key's value, whose levels or steps we have not.
    """
    name = str(config.get("_class_name", "a scheduler without a name"))
    if name not in SAMPLERS:
        raise ScheduleError(f"{name} has no sampler of ours for a flow")
    config = completed(config)
    check_steps(name, config)
    kind = only_spread(config)
    if not name.startswith("FlowMatch"):
        return _solver(name, config, kind)
    return FlowOwn(
        sampler="lcm" if config.get("stochastic_sampling") else SAMPLERS[name],
        grid=ends,
        smallest=float(shifted(np.asarray(1 / config["num_train_timesteps"]), shift.first)),
        terminal=config.get("shift_terminal") or 0.0,
        spread=kind,
        in_time=name == "FlowMatchHeunDiscreteScheduler",
    )


def _solver(name: str, config: Mapping[str, Any], kind: str | None) -> FlowOwn:
    if kind is not None:
        raise ScheduleError(f"use_{kind}_sigmas with use_flow_sigmas takes levels of betas")
    if config.get("final_sigmas_type", "zero") != "zero":
        raise ScheduleError("final_sigmas_type 'sigma_min' with use_flow_sigmas is not served")
    return FlowOwn(
        sampler=solver_sampler(config) if SAMPLERS[name] == "dpmpp_2m" else SAMPLERS[name],
        grid="above_zero" if name == "UniPCMultistepScheduler" else "below_one",
        terminal=config.get("shift_terminal") or 0.0,
    )
