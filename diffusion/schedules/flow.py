"""Flow matching: x_t = (1 − t)·x_0 + t·ε (Lipman et al. 2023; Liu et al. 2023).

t = σ/(1 + σ), the network takes 1000·t and returns ε − x_0, and sampling starts at t = 1, which is
noise alone.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion.config import fault
from diffusion.errors import ScheduleError
from diffusion.schedules.flow_own import Ends, FlowOwn, flow_own
from diffusion.schedules.keys import FLOW, FLOW_SCHEDULERS, FLOW_SOLVER, completed
from diffusion.schedules.levels import OWN, Levels
from diffusion.schedules.precondition import (
    Preconditioning,
    PredictionType,
    Process,
    precondition,
)
from diffusion.schedules.shift import Shift, shifted
from diffusion.schedules.spread import SAMPLING_SCHEDULES, SPREADS, spread, timesteps_of

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class FlowSchedule:
    """A flow, and how its times are shifted towards noise."""

    shift: Shift = field(default_factory=Shift)
    num_train_timesteps: int = 1000
    own: FlowOwn | None = None
    not_own: str = "the model names no scheduler"
    process: Process = field(default="flow", init=False)
    prediction_type: PredictionType = field(default="flow_prediction", init=False)
    schedules: tuple[str, ...] = field(default=SAMPLING_SCHEDULES, init=False)
    default_schedule: str | None = field(default="trailing", init=False)

    @classmethod
    def from_config(
        cls, config: Mapping[str, Any], *, ends: Ends = "twice_shifted"
    ) -> "FlowSchedule":
        """Read diffusers' ``scheduler_config.json``.

        Args:
            config: of a FlowMatch scheduler, or of a solver with ``use_flow_sigmas``.
            ends: where a FlowMatch scheduler's levels end: ``twice_shifted`` is what it does
                itself, ``once_shifted`` where the pipeline gives it linspace(1, 1/n, n).

        Raises:
            ScheduleError: a value is unknown, malformed or not served.
        """
        solver = config.get("_class_name") not in FLOW_SCHEDULERS
        if wrong := fault(config, FLOW_SOLVER if solver else FLOW):
            raise ScheduleError(wrong)
        prediction = config.get("prediction_type", "epsilon") if solver else "flow_prediction"
        if prediction != "flow_prediction":
            raise ScheduleError(
                f"use_flow_sigmas with prediction_type {prediction!r} is not served, only "
                "'flow_prediction'"
            )
        shift, own, not_own = Shift.from_config(config), None, ""
        try:
            own = flow_own(config, shift, ends)
        except ScheduleError as error:  # a job may still choose a sampler and levels of ours
            not_own = str(error)
        return cls(shift, completed(config).get("num_train_timesteps", 1000), own, not_own)

    def precondition(self, sigmas: Array) -> Preconditioning:
        """Return the coefficients that make the network's output the denoised estimate, (R,)."""
        return precondition("flow", "flow_prediction", sigmas)

    def timestep_of(self, sigmas: Array) -> Array:
        """Return 1000·t of positive levels."""
        with np.errstate(invalid="ignore"):
            times = np.where(np.isinf(sigmas), 1.0, sigmas / (1 + sigmas))
        return np.asarray(self.num_train_timesteps * times)

    def initial_scale(self, sigma: float) -> float:
        """Return what unit noise is multiplied by at the first level, 1 + σ."""
        return 1 + sigma

    def levels(self, schedule: str, steps: int, image_tokens: int | None) -> Levels:
        """Return the levels of a job.

        ``karras`` and ``exponential`` space t itself, between the ends of ``trailing``.

        Raises:
            ScheduleError: they depend on the image's size, which is not given.
        """
        if schedule == OWN and self.own is not None:
            times = self.own.times(self.num_train_timesteps, steps, self.shift.factor(image_tokens))
            return self._at(OWN, times, in_time=self.own.in_time)
        k = self.shift.factor(image_tokens)
        if schedule in SPREADS:
            last = float(shifted(np.asarray(1 / steps), k))
            return self._at(schedule, spread(schedule, 1.0, last, steps))
        return self._at(schedule, shifted(self._spaced(schedule, steps), k))

    def _spaced(self, schedule: str, steps: int) -> Array:
        if schedule == "trailing":
            return 1 - np.arange(steps) / steps
        return (timesteps_of(schedule, steps, self.num_train_timesteps) + 1) / (
            self.num_train_timesteps
        )

    def _at(self, schedule: str, times: Array, *, in_time: bool = False) -> Levels:
        with np.errstate(divide="ignore"):
            sigmas = times / (1 - times)
        timesteps = self.num_train_timesteps * times
        return Levels(schedule, np.append(sigmas, 0.0), timesteps, in_time=in_time)
