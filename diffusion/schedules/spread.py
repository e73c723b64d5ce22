"""Spacings of training timesteps, and of the noise level itself."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from diffusion.errors import ScheduleError

Array = NDArray[np.float64]
SPREADS = ("karras", "exponential")
TIMESTEP_SPACINGS = ("leading", "linspace", "trailing")
SAMPLING_SCHEDULES = (*TIMESTEP_SPACINGS, *SPREADS, "beta", "sgm_uniform")
"""The schedules that we space levels by."""
RHO = 7.0


def timesteps_of(schedule: str, steps: int, total: int, offset: int = 0) -> Array:
    """Return the timesteps, of 0..total−1, of those schedules that space them.

    ``leading``, ``linspace`` and ``trailing`` are Lin et al. 2023, table 2; ``beta`` takes
    quantiles of Beta(0.6, 0.6) in time (Lee et al. 2024); ``sgm_uniform`` is linspace without its
    last point (Stability's generative-models).

    Raises:
        ScheduleError: an unknown name.
    """
    last = total - 1
    if schedule in TIMESTEP_SPACINGS:
        return spaced_timesteps(schedule, steps, total, offset)
    if schedule == "sgm_uniform":
        return np.linspace(last, 0, steps + 1)[:-1]
    if schedule == "beta":
        return last * np.interp(1 - np.arange(steps) / steps, *beta_distribution())
    known = ", ".join(SAMPLING_SCHEDULES)
    raise ScheduleError(f"unknown schedule {schedule!r}; available: {known}")


def spaced_timesteps(name: str, count: int, total: int, offset: int) -> Array:
    """Return ``count`` of ``total`` timesteps, falling (Lin et al. 2023, table 2).

    ``leading`` adds ``offset`` to each.
    """
    last = total - 1
    if name == "linspace":
        return np.linspace(last, 0, count)
    if name == "trailing":
        return np.asarray(np.round(total * (1 - np.arange(count) / count)) - 1)
    times: Array = np.arange(count, dtype=np.float64)[::-1] * (total // count)
    return np.asarray(times + min(offset, last - times[0]))


def spread(name: str, high: float, low: float, count: int, rho: float = RHO) -> Array:
    """Return ``count`` levels from ``high`` to ``low``.

    ``karras`` is Karras et al. 2022, equation 5; ``exponential`` is even in ln σ; ``beta`` takes
    quantiles of Beta(0.6, 0.6) (Lee et al. 2024), here of σ.
    """
    ramp: Array = np.linspace(0, 1, count)
    if name == "karras":
        root: Array = high ** (1 / rho) + ramp * (low ** (1 / rho) - high ** (1 / rho))
        return np.asarray(root**rho, np.float64)
    if name == "exponential":
        return np.asarray(np.exp(np.log(high) + ramp * (np.log(low) - np.log(high))))
    return np.asarray(low + np.interp(1 - ramp, *beta_distribution()) * (high - low))


@lru_cache(maxsize=1)
def beta_distribution(alpha: float = 0.6, points: int = 200_001) -> tuple[Array, Array]:
    """Return (cumulative probability, quantile) of Beta(α, α) on a fine grid.

    With x = sin²θ the density becomes (sin θ·cos θ)^(2α−1), which has no poles.
    """
    theta = np.linspace(0, np.pi / 2, points)
    density = (np.sin(theta) * np.cos(theta)) ** (2 * alpha - 1)
    cumulative = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    return cumulative / cumulative[-1], np.sin(theta) ** 2
