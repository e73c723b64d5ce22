"""The variance-preserving process: Stable Diffusion and its kin."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from diffusion.config import fault, shown
from diffusion.errors import ScheduleError
from diffusion.schedules.keys import VP, completed
from diffusion.schedules.levels import OWN, Levels
from diffusion.schedules.own import OwnSchedule, own_schedule
from diffusion.schedules.precondition import (
    PREDICTIONS,
    Preconditioning,
    PredictionType,
    Process,
    precondition,
)
from diffusion.schedules.spread import SAMPLING_SCHEDULES, SPREADS, spread, timesteps_of

Array = NDArray[np.float64]
BETAS = {"beta_schedule": "linear", "beta_start": 0.0001, "beta_end": 0.02}
"""Of a configuration that names no scheduler."""
ZERO_SNR_SIGMA = 14.6  # the finite level where spaced ones begin after an infinite one


def training_betas(kind: str, timesteps: int, start: float, end: float) -> Array:
    """Return β_t, (timesteps,), of a training schedule under its diffusers name.

    ``linear`` is Ho et al. 2020, ``scaled_linear`` Rombach et al. 2022 (linear in sqrt β),
    ``squaredcos_cap_v2`` Nichol and Dhariwal 2021 (which takes neither start nor end).

    Raises:
        ScheduleError: an unknown kind, or betas outside (0, 1).
    """
    if kind == "linear":
        betas = np.linspace(start, end, timesteps)
    elif kind == "scaled_linear":
        betas = np.linspace(start**0.5, end**0.5, timesteps) ** 2
    elif kind == "squaredcos_cap_v2":
        t = np.arange(timesteps + 1) / timesteps
        alphas_bar = np.cos((t + 0.008) / 1.008 * np.pi / 2) ** 2
        betas = np.minimum(1 - alphas_bar[1:] / alphas_bar[:-1], 0.999)
    else:
        raise ScheduleError(f"unknown beta_schedule {shown(kind)}")
    if not np.all((betas > 0) & (betas < 1)):
        raise ScheduleError(f"betas of {kind!r} from {start} to {end} are not within (0, 1)")
    return betas


def zero_terminal_snr(alphas_cumprod: Array) -> Array:
    """Return ᾱ (T,) rescaled to end at exactly 0 (Lin et al. 2023, algorithm 1)."""
    root = np.sqrt(alphas_cumprod)
    return np.asarray(((root - root[-1]) * root[0] / (root[0] - root[-1])) ** 2)


def _alphas_cumprod(config: Mapping[str, Any]) -> Array:
    trained = config.get("trained_betas")
    if trained is None:
        total = config.get("num_train_timesteps", 1000)
        start, end = config["beta_start"], config["beta_end"]
        betas = training_betas(config["beta_schedule"], total, start, end)
    else:
        betas = np.asarray(trained, dtype=np.float64)
    if len(betas) < 2 or not np.all((betas > 0) & (betas < 1)):
        raise ScheduleError("trained_betas are not a list of numbers within (0, 1)")
    return np.cumprod(1 - betas).astype(np.float64)


@dataclass(frozen=True, eq=False)
class VPSchedule:
    """The forward process a model was trained on: x_t = sqrt(ᾱ_t)·x_0 + sqrt(1 − ᾱ_t)·ε."""

    alphas_cumprod: Array  # ᾱ, (T,) float64, decreasing
    prediction_type: PredictionType = "epsilon"
    steps_offset: int = 0  # added to timesteps by "leading" spacing; Stable Diffusion has 1
    own: OwnSchedule | None = None  # the levels that the model's own scheduler visits
    not_own: str = "the model names no scheduler"  # why there are none
    process: Process = field(default="vp", init=False)
    schedules: tuple[str, ...] = field(default=SAMPLING_SCHEDULES, init=False)
    default_schedule: str | None = field(default=None, init=False)

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> "VPSchedule":
        """Read diffusers' ``scheduler_config.json``.

        Raises:
            ScheduleError: a value is unknown, malformed or not served.
        """
        prediction = str(config.get("prediction_type", "epsilon"))
        if prediction not in PREDICTIONS["vp"]:
            raise ScheduleError(f"unknown prediction_type {shown(prediction)}")
        if wrong := fault(config, VP):
            raise ScheduleError(wrong)
        whole: dict[str, Any] = BETAS | completed(config)
        alphas_cumprod = _alphas_cumprod(whole)
        if whole.get("rescale_betas_zero_snr"):
            if prediction == "epsilon":
                raise ScheduleError(
                    "rescale_betas_zero_snr with prediction_type 'epsilon': the "
                    "first level is noise alone, of which noise says nothing"
                )
            alphas_cumprod = zero_terminal_snr(alphas_cumprod)
        offset = whole.get("steps_offset", 0)
        try:
            own = own_schedule(config)
            schedule = cls(alphas_cumprod, prediction, offset, own, "")
            own.levels(schedule, 2)
        except ScheduleError as error:  # a job may still choose a sampler and levels of ours
            return cls(alphas_cumprod, prediction, offset, None, str(error))
        return schedule

    @property
    def num_train_timesteps(self) -> int:
        """T."""
        return len(self.alphas_cumprod)

    @cached_property
    def sigmas(self) -> Array:
        """σ_t = sqrt((1 − ᾱ_t)/ᾱ_t), (T,), increasing; the last is ∞ at zero terminal SNR."""
        with np.errstate(divide="ignore"):
            return np.sqrt((1 - self.alphas_cumprod) / self.alphas_cumprod)

    @cached_property
    def _finite(self) -> Array:
        """The finite σ_t: an infinite one would spoil any interpolation beside it."""
        return self.sigmas[np.isfinite(self.sigmas)]

    @cached_property
    def _last_root(self) -> float:
        """Return sqrt(ᾱ) at the last finite level."""
        return float(1 / np.hypot(1, self._finite[-1]))

    @cached_property
    def log_sigmas(self) -> Array:
        """ln of the finite σ_t."""
        return np.log(self._finite)

    def sigma_of(self, timesteps: Array) -> Array:
        """Return σ at (fractional) timesteps, log-linear in between (Karras et al. 2022).

        Before an infinite last level sqrt(ᾱ) is linear.
        """
        last = self.num_train_timesteps - 1
        grid = np.arange(len(self._finite), dtype=np.float64)
        between = np.exp(np.interp(timesteps, grid, self.log_sigmas))
        root = self._last_root * (last - np.clip(timesteps, grid[-1], last))
        with np.errstate(divide="ignore"):
            between = np.where(timesteps > grid[-1], np.sqrt(1 / root**2 - 1), between)
        whole = np.asarray(timesteps) == np.floor(timesteps)
        exact = self.sigmas[np.clip(np.floor(timesteps).astype(int), 0, last)]
        return np.where(whole, exact, between)

    def precondition(self, sigmas: Array) -> Preconditioning:
        """Return the coefficients that make the network's output the denoised estimate, (R,)."""
        return precondition("vp", self.prediction_type, sigmas)

    def timestep_of(self, sigmas: Array) -> Array:
        """Return the fractional timesteps of positive levels, clamped to 0..T−1."""
        grid = np.arange(len(self._finite), dtype=np.float64)
        times = np.interp(np.log(sigmas), self.log_sigmas, grid)
        if len(grid) == self.num_train_timesteps:
            return np.asarray(times)
        beyond = self.num_train_timesteps - 1 - 1 / (self._last_root * np.hypot(1, sigmas))
        return np.where(sigmas > self._finite[-1], beyond, times)

    def initial_scale(self, sigma: float) -> float:
        """Return what unit noise is multiplied by at the first level, sqrt(1 + σ²)."""
        return float(np.sqrt(1 + sigma**2))

    def levels(self, schedule: str, steps: int, image_tokens: int | None) -> Levels:
        """Return the levels of a job.

        ``karras`` and ``exponential`` space σ (Karras et al. 2022, eq. 5; k-diffusion), the others
        the model's own timesteps.
        """
        if schedule == OWN and self.own is not None:
            return self.own.levels(self, steps)
        if schedule in SPREADS:
            sigmas = self._spread(schedule, steps)
            return Levels(schedule, np.append(sigmas, 0.0), self.timestep_of(sigmas))
        timesteps = timesteps_of(schedule, steps, self.num_train_timesteps, self.steps_offset)
        return Levels(schedule, np.append(self.sigma_of(timesteps), 0.0), timesteps)

    def _spread(self, schedule: str, steps: int) -> Array:
        high, low = self.sigmas[-1], self.sigmas[0]
        if np.isfinite(high):
            return spread(schedule, high, low, steps)
        # From ∞ no spacing of σ starts: one level there, the others from where SD's betas start.
        rest = spread(schedule, ZERO_SNR_SIGMA, low, steps - 1) if steps > 1 else np.empty(0)
        return np.concatenate([[np.inf], rest])
