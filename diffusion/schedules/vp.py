"""Noise schedules: the one a model was trained with, and the levels that a sampler visits."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from diffusion.config import fault, shown
from diffusion.config_keys import SCHEDULER
from diffusion.errors import ScheduleError
from diffusion.schedules.clip import estimate_bound
from diffusion.schedules.levels import Levels
from diffusion.schedules.own import OWN, OwnSchedule, own_schedule
from diffusion.schedules.precondition import (
    PREDICTIONS,
    Preconditioning,
    PredictionType,
    precondition,
)
from diffusion.schedules.spread import (
    SPREADS,
    TIMESTEP_SPACINGS,
    beta_distribution,
    spaced_timesteps,
    spread,
)

Array = NDArray[np.float64]
ZERO_SNR_SIGMA = 14.6  # the finite level where spaced ones begin after an infinite one
SAMPLING_SCHEDULES = (
    "leading",
    "linspace",
    "trailing",
    "karras",
    "exponential",
    "beta",
    "sgm_uniform",
)


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


@dataclass(frozen=True, eq=False)
class NoiseSchedule:
    """The forward process a model was trained on: x_t = sqrt(ᾱ_t)·x_0 + sqrt(1 − ᾱ_t)·ε."""

    alphas_cumprod: Array  # ᾱ, (T,) float64, decreasing
    prediction_type: PredictionType = "epsilon"
    steps_offset: int = 0  # added to timesteps by "leading" spacing; Stable Diffusion has 1
    own: OwnSchedule | None = None  # the levels that the model's own scheduler visits
    not_own: str = "the model names no scheduler"  # why there are none
    clip: float | None = None  # the estimate is kept within ± this

    @classmethod
    def from_config(cls, config: Mapping[str, object]) -> "NoiseSchedule":
        """Read diffusers' ``scheduler_config.json``.

        Raises:
            ScheduleError: a value is unknown, malformed or not served.
        """
        prediction = str(config.get("prediction_type", "epsilon"))
        if prediction not in PREDICTIONS["vp"]:
            raise ScheduleError(f"unknown prediction_type {shown(prediction)}")
        if wrong := fault(config, SCHEDULER):
            raise ScheduleError(wrong)
        try:
            timesteps = int(str(config.get("num_train_timesteps", 1000)))
            offset = int(str(config.get("steps_offset", 0)))
            start = float(str(config.get("beta_start", 0.0001)))
            end = float(str(config.get("beta_end", 0.02)))
            trained = config.get("trained_betas")
            betas = (
                training_betas(str(config.get("beta_schedule", "linear")), timesteps, start, end)
                if trained is None
                else np.asarray(trained, dtype=np.float64)
            )
        except (TypeError, ValueError) as error:
            raise ScheduleError(f"scheduler config: {error}") from error
        if betas.ndim != 1 or len(betas) < 2 or not np.all((betas > 0) & (betas < 1)):
            raise ScheduleError("trained_betas are not a list of numbers within (0, 1)")
        alphas_cumprod: Array = np.cumprod(1 - betas).astype(np.float64)
        if config.get("rescale_betas_zero_snr"):
            if prediction == "epsilon":
                raise ScheduleError(
                    "rescale_betas_zero_snr with prediction_type 'epsilon': the "
                    "first level is noise alone, of which noise says nothing"
                )
            alphas_cumprod = zero_terminal_snr(alphas_cumprod)
        own, not_own = None, ""
        try:
            own = own_schedule(config)
        except ScheduleError as error:  # a job may still choose a sampler and levels of ours
            not_own = str(error)
        return cls(alphas_cumprod, prediction, offset, own, not_own, estimate_bound(config))

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
    def log_sigmas(self) -> Array:
        """ln of the finite σ_t."""
        return np.log(self._finite)

    def sigma_of(self, timesteps: Array) -> Array:
        """Return σ at (fractional) timesteps, log-linear in between (Karras et al. 2022)."""
        grid = np.arange(len(self._finite), dtype=np.float64)
        between = np.exp(np.interp(timesteps, grid, self.log_sigmas))
        whole = np.asarray(timesteps) == np.floor(timesteps)
        last = self.num_train_timesteps - 1
        exact = self.sigmas[np.clip(np.floor(timesteps).astype(int), 0, last)]
        return np.where(whole, exact, between)

    def precondition(self, sigmas: Array) -> Preconditioning:
        """Return the coefficients that make the network's output the denoised estimate, (R,)."""
        return precondition("vp", self.prediction_type, sigmas)

    def timestep_of(self, sigmas: Array) -> Array:
        """Return the fractional timesteps of positive levels, clamped to 0..T−1."""
        grid = np.arange(len(self._finite), dtype=np.float64)
        times = np.interp(np.log(sigmas), self.log_sigmas, grid)
        return np.where(np.isinf(sigmas), self.num_train_timesteps - 1, times)


def sampling_levels(noise_schedule: NoiseSchedule, schedule: str, steps: int) -> Levels:
    """Return the levels of ``steps`` sampling steps under one of :data:`SAMPLING_SCHEDULES`.

    ``leading``, ``linspace`` and ``trailing`` space the model's own timesteps (Lin et al. 2023,
    table 2); ``karras`` and ``exponential`` space sigma (Karras et al. 2022, eq. 5; k-diffusion);
    ``beta`` takes quantiles of Beta(0.6, 0.6) in time (Lee et al. 2024); ``sgm_uniform`` is
    linspace without its last point (Stability's generative-models).

    ``model`` is what the model's own ``scheduler_config.json`` says (:class:`OwnSchedule`).

    Raises:
        ScheduleError: an unknown name, or a number of steps outside 1..T.
    """
    last = noise_schedule.num_train_timesteps - 1
    if not 1 <= steps <= last + 1:
        raise ScheduleError(f"num_inference_steps {steps} is not in 1..{last + 1}")
    if schedule == OWN:
        if noise_schedule.own is None:
            raise ScheduleError(f"schedule {OWN!r} is not offered: {noise_schedule.not_own}")
        return noise_schedule.own.levels(noise_schedule, steps)
    if schedule in SPREADS:
        sigmas = _spread(noise_schedule, schedule, steps)
        return Levels(schedule, np.append(sigmas, 0.0), noise_schedule.timestep_of(sigmas))
    timesteps = _timesteps(schedule, steps, last, noise_schedule.steps_offset)
    return Levels(schedule, np.append(noise_schedule.sigma_of(timesteps), 0.0), timesteps)


def _spread(noise_schedule: NoiseSchedule, schedule: str, steps: int) -> Array:
    high, low = noise_schedule.sigmas[-1], noise_schedule.sigmas[0]
    if np.isfinite(high):
        return spread(schedule, high, low, steps)
    # From ∞ there is no way to space σ: one level there, the others from where SD's betas start.
    rest = spread(schedule, ZERO_SNR_SIGMA, low, steps - 1) if steps > 1 else np.empty(0)
    return np.concatenate([[np.inf], rest])


def _timesteps(schedule: str, steps: int, last: int, offset: int) -> Array:
    if schedule in TIMESTEP_SPACINGS:
        return spaced_timesteps(schedule, steps, last + 1, offset)
    if schedule == "sgm_uniform":
        return np.linspace(last, 0, steps + 1)[:-1]
    if schedule == "beta":
        return last * np.interp(1 - np.arange(steps) / steps, *beta_distribution())
    known = ", ".join(SAMPLING_SCHEDULES)
    raise ScheduleError(f"unknown schedule {schedule!r}; available: {known}")
