"""The levels that a model's own scheduler visits, from diffusers' ``scheduler_config.json``.

What diffusers does by accident is not copied: a single step with linspace spacing starts from
noise, not at timestep 0; trailing spacing never ends below timestep 0; and a last step from σ_0 to
σ_0, which changes nothing, goes to 0 instead.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from diffusion.errors import ScheduleError
from diffusion.schedules.keys import completed
from diffusion.schedules.levels import OWN, Levels
from diffusion.schedules.spread import TIMESTEP_SPACINGS, spaced_timesteps, spread
from diffusion.schedules.steps import check_steps, first_order_below, only_spread, solver_sampler

if TYPE_CHECKING:
    from diffusion.schedules.vp import VPSchedule

Array = NDArray[np.float64]
CAP = float(np.sqrt(2**24 - 1))  # what diffusers spreads levels from instead of from ∞
Family = Literal["euler", "ddim", "solver", "lcm"]
FAMILIES: Mapping[str, tuple[Family, str]] = {
    "EulerDiscreteScheduler": ("euler", "euler"),
    "EulerAncestralDiscreteScheduler": ("euler", "euler_ancestral"),
    "HeunDiscreteScheduler": ("euler", "heun"),
    "KDPM2DiscreteScheduler": ("euler", "dpm2"),
    "KDPM2AncestralDiscreteScheduler": ("euler", "dpm2_ancestral"),
    "LMSDiscreteScheduler": ("euler", "lms"),
    "DDIMScheduler": ("ddim", "ddim"),
    "DDIMParallelScheduler": ("ddim", "ddim"),
    "DDPMScheduler": ("ddim", "ddpm"),
    "DDPMParallelScheduler": ("ddim", "ddpm"),
    "PNDMScheduler": ("ddim", "plms"),
    "DPMSolverMultistepScheduler": ("solver", "dpmpp_2m"),
    "UniPCMultistepScheduler": ("solver", "unipc"),
    "DEISMultistepScheduler": ("solver", "deis"),
    "LCMScheduler": ("lcm", "lcm"),
}
"""diffusers' schedulers: how they space their levels, and our sampler that takes their steps."""


@dataclass(frozen=True)
class OwnSchedule:
    """How a model's scheduler spaces its levels, and where it starts and ends."""

    sampler: str  # of ours, that takes its steps
    family: Family
    spacing: str = "leading"
    offset: int = 0  # of leading spacing
    spread: str | None = None  # a spacing of σ itself instead
    sigma_min: float | None = None
    sigma_max: float | None = None
    ends_at_first: bool = False  # at σ_0 of training, not at 0
    rounded: bool = True  # timesteps of a solver's spread levels
    lambda_min: float = -np.inf  # levels above σ = exp(−λ) are left out
    original_steps: int = 50  # of LCM's distillation
    large_noise: bool = False  # of DDPM: variance β_t
    first_order_below: float = 0  # steps: there the last one is first order, where it ends above 0

    def levels(self, noise_schedule: "VPSchedule", steps: int) -> Levels:
        """Return the levels of ``steps`` steps.

        Raises:
            ScheduleError: more steps than the scheduler takes.
        """
        timesteps = self._timesteps(noise_schedule, steps)
        grid = np.arange(noise_schedule.num_train_timesteps)
        with np.errstate(invalid="ignore"):  # between a finite and an infinite level
            sigmas = np.interp(timesteps, grid, noise_schedule.sigmas)
        sigmas = np.where(timesteps == grid[-1], noise_schedule.sigmas[-1], sigmas)
        if self.spread is not None:
            timesteps, sigmas = self._spread(noise_schedule, sigmas, steps)
        first = float(noise_schedule.sigmas[0])
        last = first if self.ends_at_first and sigmas[-1] > first else 0.0
        starts_lower = self.family == "euler" and self.spacing != "leading"
        return Levels(
            OWN,
            np.append(sigmas, last),
            timesteps,
            initial_scale=float(sigmas[0]) if starts_lower else None,
            final_scale=1.0 if self.family == "euler" else float(1 / np.sqrt(1 + last**2)),
            first_order_end=steps < self.first_order_below,
            large_noise=self.large_noise,
        )

    def _timesteps(self, noise_schedule: "VPSchedule", steps: int) -> Array:
        total = noise_schedule.num_train_timesteps
        if self.family == "lcm":
            return self._distilled(total, steps)
        if self.family == "solver":
            return self._of_a_solver(noise_schedule, steps)
        times = spaced_timesteps(self.spacing, steps, total, self.offset)
        return np.round(times) if self.family == "ddim" else times

    def _of_a_solver(self, noise_schedule: "VPSchedule", steps: int) -> Array:
        """Solvers space n + 1 timesteps and leave the last one out."""
        total = noise_schedule.num_train_timesteps
        top = total - int(np.sum(-np.log(noise_schedule.sigmas) < self.lambda_min))
        if self.spacing == "leading":
            times: Array = np.arange(steps, 0, -1, dtype=np.float64) * (top // (steps + 1))
            return np.asarray(times + min(self.offset, total - 1 - times[0]))
        if self.spacing == "linspace":
            return np.round(np.linspace(top - 1, 0, steps + 1))[:-1]
        return _trailing(total, top, steps)

    def _distilled(self, total: int, steps: int) -> Array:
        """Return some of the timesteps that a consistency model was distilled at."""
        if steps > self.original_steps:
            raise ScheduleError(f"the model's own schedule has {self.original_steps} steps at most")
        grid = np.arange(self.original_steps, 0, -1) * (total // self.original_steps) - 1.0
        return np.asarray(
            grid[np.floor(np.arange(steps) * (self.original_steps / steps)).astype(int)]
        )

    def _spread(
        self, noise_schedule: "VPSchedule", spaced: Array, steps: int
    ) -> tuple[Array, Array]:
        grid = np.minimum(noise_schedule.sigmas, CAP)
        ends = np.minimum(spaced, CAP) if self.family == "euler" else grid[::-1]
        high = ends[0] if self.sigma_max is None else self.sigma_max
        low = ends[-1] if self.sigma_min is None else self.sigma_min
        sigmas = spread(self.spread or "", high, low, steps)
        timesteps = np.interp(np.log(sigmas), np.log(grid), np.arange(len(grid)))
        if self.family == "solver" and self.rounded:
            timesteps = np.round(timesteps) if self.spread == "karras" else np.floor(timesteps)
        return timesteps, sigmas


def _trailing(total: int, top: int, steps: int) -> Array:
    return np.round(top - np.arange(steps) * (total / steps)) - 1


def own_schedule(config: Mapping[str, Any]) -> OwnSchedule:
    """Read a configuration.

    Raises:
        ScheduleError: a scheduler, or a key's value, whose levels or steps we have not.
    """
    name = str(config.get("_class_name", "a scheduler without a name"))
    if name not in FAMILIES:
        raise ScheduleError(f"{name} has no sampler of ours")
    family, sampler = FAMILIES[name]
    config = completed(config)
    check_steps(name, config)
    spacing = config["timestep_spacing"]
    if spacing not in TIMESTEP_SPACINGS:
        raise ScheduleError(
            f"timestep_spacing {spacing!r} is not served: {', '.join(TIMESTEP_SPACINGS)}"
        )
    kind = only_spread(config)
    return OwnSchedule(
        sampler=solver_sampler(config) if sampler == "dpmpp_2m" else sampler,
        family=family,
        spacing=spacing,
        offset=0 if family == "lcm" else config["steps_offset"],
        spread=kind,
        sigma_min=config.get("sigma_min"),
        sigma_max=config.get("sigma_max"),
        ends_at_first=_ends_at_first(name, family, kind, config),
        rounded=config["beta_schedule"] != "squaredcos_cap_v2" or kind != "karras",
        lambda_min=float(config.get("lambda_min_clipped", -np.inf)),
        original_steps=config.get("original_inference_steps", 50),
        large_noise=_large_noise(name, config),
        first_order_below=first_order_below(config),
    )


def _large_noise(name: str, config: Mapping[str, Any]) -> bool:
    if not name.startswith("DDPM") or config["variance_type"] != "fixed_large":
        return False
    ends_later = config["timestep_spacing"] == "trailing" or (
        config["timestep_spacing"] == "leading" and config["steps_offset"] > 0
    )
    if ends_later or config["rescale_betas_zero_snr"]:
        raise ScheduleError(
            "variance_type 'fixed_large' leaves noise in the image unless the last timestep is 0"
        )
    return True


def _ends_at_first(name: str, family: Family, kind: str | None, config: Mapping[str, Any]) -> bool:
    if name in ("DDIMScheduler", "DDIMParallelScheduler", "PNDMScheduler"):
        return config["set_alpha_to_one"] is not True
    if name == "DEISMultistepScheduler":
        return kind is None  # else diffusers repeats the last level and never reaches the image
    ends = bool(config.get("final_sigmas_type", "zero") == "sigma_min")
    if ends and (family == "euler" or kind is not None):
        raise ScheduleError("final_sigmas_type 'sigma_min' repeats the last level: not served here")
    return ends
