"""The notation samplers are written in: linear combinations of registers, D and ε."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from diffusion.samplers.table import SamplerTable
from diffusion.schedules.levels import Levels
from diffusion.schedules.precondition import Process
from diffusion.schedules.schedule import NoiseSchedule

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """One step, from level ``s`` to level ``t``."""

    index: int
    s: float
    t: float
    timestep: float  # of s
    first_order: bool = False  # whether a multistep method forgets its past here

    @property
    def q(self) -> float:
        """t/s: coefficients written in terms of it do not cancel."""
        return self.t / self.s

    @property
    def h(self) -> float:
        """ln(s/t), the step in log-SNR; infinite for the step to 0."""
        return float(-np.log(self.q)) if self.t else np.inf

    def ancestral(self, eta: float) -> tuple[float, float]:
        """Return (down, up): step to ``down``, then add noise of ``up`` (Song et al. 2021, 16).

        With η = 1 down is t²/s; the usual square root of a difference loses digits.
        """
        q = self.q
        down = self.t * np.sqrt(q * q + (1 - eta * eta) * (1 - q * q))
        return float(down), float(eta * self.t * np.sqrt(1 - q * q))

    @property
    def large_noise(self) -> float:
        """The deviation of noise of variance β_t = 1 − ᾱ_t/ᾱ_t' (Ho et al. 2020, 3.2); 0 at 0."""
        s, t = self.s, self.t
        return float(np.sqrt((s * s - t * t) * (1 + t * t) / (1 + s * s))) if t else 0.0


class Rows:
    """Collects a table row by row; knows the levels and η that it is compiled for.

    Vectors over (S[0], …, S[K−1], D, ε) stand for tensors, so that a sampler reads as in its
    paper: ``rows.add(at, at.q * rows.x + (1 - at.q) * rows.d)``.
    """

    def __init__(
        self, levels: Levels, noise_schedule: NoiseSchedule, *, registers: int, eta: float
    ) -> None:
        self.levels = levels
        self.eta = eta
        sigmas, timesteps = levels.sigmas.tolist(), levels.timesteps.tolist()
        self.from_noise = int(np.isinf(sigmas[0]))  # steps, before the intervals
        simple = levels.steps - 1 if sigmas[-1] == 0 or levels.first_order_end else None
        self.every_interval = [
            Interval(i - self.from_noise, *interval, first_order=i == simple)
            for i, interval in enumerate(zip(sigmas[:-1], sigmas[1:], timesteps, strict=True))
        ]
        self.intervals = self.every_interval[self.from_noise :]
        unit = np.eye(registers + 2)
        self.s = unit[:registers]
        self.x, self.d, self.noise = unit[0], unit[-2], unit[-1]
        self._noise_schedule = noise_schedule
        self._sigmas: list[float] = []
        self._timesteps: list[float] = []
        self._finished: list[int] = []
        self._states: list[Array] = []

    @property
    def process(self) -> Process:
        """The process that the model was trained on."""
        return self._noise_schedule.process

    def add(
        self, at: Interval, *state: Array, sigma: float | None = None, finished: int | None = None
    ) -> None:
        """Append a row: evaluate at ``sigma``, then S' = ``state``; registers left out become 0.

        By default the evaluation is at the interval's start and ``finished``, the number of steps
        done after the row, includes this interval.
        """
        padding = [np.zeros_like(self.x)] * (len(self.s) - len(state))
        self._sigmas.append(at.s if sigma is None else sigma)
        self._timesteps.append(at.timestep if sigma is None else self._timestep_of(sigma))
        done = at.index + 1 if finished is None else finished
        self._finished.append(self.from_noise + done)
        self._states.append(np.stack([*state, *padding]))

    def add_from_noise(self, eta: float) -> None:
        """Append the step from an infinite level, where the state is unit noise.

        It is the limit of :meth:`Interval.ancestral` steps from ever larger levels.
        """
        at = self.every_interval[0]
        down, up = at.t * np.sqrt(1 - eta * eta), eta * at.t
        self.add(at, self.d + down * self.x + up * self.noise)

    def _timestep_of(self, sigma: float) -> float:
        at = np.flatnonzero(self.levels.sigmas[:-1] == sigma)
        if len(at):
            return float(self.levels.timesteps[at[0]])
        return float(self._noise_schedule.timestep_of(np.asarray(sigma)))

    def table(self, sampler: str) -> SamplerTable:
        """Return the finished table; its last row leaves only the image in S[0]."""
        rows, k = np.stack(self._states), len(self.s)
        rows[-1, 1:] = 0.0
        rows[-1, 0] *= self.levels.final_scale
        sigmas = np.array(self._sigmas)
        seam = self._noise_schedule.precondition(sigmas)
        return SamplerTable(
            sampler=sampler,
            schedule=self.levels.schedule,
            steps=self.levels.steps,
            sigmas=sigmas,
            timesteps=np.array(self._timesteps),
            c_in=seam.c_in,
            c_skip=seam.c_skip,
            c_out=seam.c_out,
            mix=rows[:, :, :k],
            denoised=rows[:, :, k],
            noise=rows[:, :, k + 1],
            initial_scale=self._initial_scale(),
            step_of_row=np.array(self._finished, dtype=np.int64),
        )

    def _initial_scale(self) -> float:
        if self.from_noise:
            return 1.0
        if self.levels.initial_scale is not None:
            return self.levels.initial_scale
        return self._noise_schedule.initial_scale(float(self.levels.sigmas[0]))


Compile = Callable[[Rows], None]
"""Adds a sampler's rows."""
