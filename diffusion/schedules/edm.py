"""x = x_0 + σ·ε, with the preconditioning of Karras et al. 2022: c_noise is ¼·ln σ."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion.config import fault
from diffusion.errors import ScheduleError
from diffusion.schedules.keys import EDM, completed
from diffusion.schedules.levels import OWN, Levels
from diffusion.schedules.precondition import (
    Preconditioning,
    PredictionType,
    Process,
    precondition,
)
from diffusion.schedules.spread import RHO, SPREADS, spread
from diffusion.schedules.steps import check_steps, solver_sampler
from diffusion.schedules.vp import VPSchedule

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EDMOwn:
    """How a model's scheduler spaces σ."""

    sampler: str  # of ours, that takes its steps
    spread: str = "karras"
    rho: float = RHO
    discrete: VPSchedule | None = None  # whose own levels they are instead


@dataclass(frozen=True, eq=False)
class EDMSchedule:
    """A range of levels, and the preconditioning between them."""

    prediction_type: PredictionType
    sigma_min: float = 0.002
    sigma_max: float = 80.0
    sigma_data: float = 0.5
    num_train_timesteps: int = 1000
    own: EDMOwn | None = None
    not_own: str = "the model names no scheduler"
    process: Process = field(default="edm", init=False)
    schedules: tuple[str, ...] = field(default=SPREADS, init=False)
    default_schedule: str | None = field(default="karras", init=False)

    def __post_init__(self) -> None:
        """Refuse a range that has none."""
        if not 0 < self.sigma_min < self.sigma_max < np.inf:
            raise ScheduleError(f"sigma_min {self.sigma_min:g} is not below {self.sigma_max:g}")

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "EDMSchedule":
        """Read diffusers' ``scheduler_config.json`` of an EDM scheduler.

        Raises:
            ScheduleError: a value is unknown, malformed or not served.
        """
        if wrong := fault(config, EDM):
            raise ScheduleError(wrong)
        config = completed(config)
        own, not_own = None, ""
        try:
            own = _own(config)
        except ScheduleError as error:  # a job may still choose a sampler and levels of ours
            not_own = str(error)
        return cls(
            config["prediction_type"],
            config["sigma_min"],
            config["sigma_max"],
            config["sigma_data"],
            config["num_train_timesteps"],
            own,
            not_own,
        )

    @classmethod
    def from_continuous(cls, config: Mapping[str, Any]) -> "EDMSchedule":
        """Read that of an Euler scheduler with ``timestep_type`` continuous and v-prediction.

        v of σ is EDM's output where the data's deviation is 1.

        Raises:
            ScheduleError: a value is unknown, malformed or not served.
        """
        discrete = VPSchedule.from_config(config)
        finite = discrete.sigmas[np.isfinite(discrete.sigmas)]
        low, high = config.get("sigma_min"), config.get("sigma_max")
        own, not_own = None, discrete.not_own
        if discrete.own is not None and len(finite) < len(discrete.sigmas):
            not_own = "timestep_type 'continuous' with rescale_betas_zero_snr has no first timestep"
        elif discrete.own is not None:
            own = EDMOwn(discrete.own.sampler, discrete=discrete)
        return cls(
            "v_prediction",
            float(finite[0]) if low is None else low,
            float(finite[-1]) if high is None else high,
            1.0,
            discrete.num_train_timesteps,
            own,
            not_own,
        )

    def precondition(self, sigmas: Array) -> Preconditioning:
        """Return the coefficients that make the network's output the denoised estimate, (R,)."""
        return precondition("edm", self.prediction_type, sigmas, self.sigma_data)

    def timestep_of(self, sigmas: Array) -> Array:
        """Return ¼·ln σ of positive levels; it may be negative."""
        return np.asarray(np.log(sigmas) / 4)

    def initial_scale(self, sigma: float) -> float:
        """Return what unit noise is multiplied by at the first level, as diffusers does."""
        return float(np.sqrt(1 + sigma**2))

    def levels(self, schedule: str, steps: int, image_tokens: int | None) -> Levels:
        """Return the levels of a job, from ``sigma_max`` to ``sigma_min``, then 0."""
        kind, rho = schedule, RHO
        if schedule == OWN and self.own is not None:
            if self.own.discrete is not None:
                levels = self.own.discrete.levels(OWN, steps, image_tokens)
                return replace(levels, timesteps=self.timestep_of(levels.sigmas[:-1]))
            kind, rho = self.own.spread, self.own.rho
        sigmas = spread(kind, self.sigma_max, self.sigma_min, steps, rho)
        return Levels(schedule, np.append(sigmas, 0.0), self.timestep_of(sigmas))


def _own(config: Mapping[str, Any]) -> EDMOwn:
    name = config["_class_name"]
    check_steps(name, config)
    if config["final_sigmas_type"] != "zero":
        raise ScheduleError("final_sigmas_type 'sigma_min' repeats the last level: not served here")
    sampler = "euler" if name == "EDMEulerScheduler" else solver_sampler(config)
    return EDMOwn(sampler, config["sigma_schedule"], config["rho"])
