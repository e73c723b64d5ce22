"""The notation samplers are written in: linear combinations of registers, D and ε."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from diffusion.schedule import Levels
from diffusion.table import SamplerTable

Array = NDArray[np.float64]


@dataclass
class Rows:
    """Collects a table row by row.

    Vectors over (S[0], …, S[K−1], D, ε) stand for tensors, so that a sampler reads as in its
    paper: ``rows.add(s, [q * x + (1 - q) * d])``.
    """

    registers: int
    sigmas: list[float] = field(default_factory=list)
    timesteps: list[float] = field(default_factory=list)
    finished: list[int] = field(default_factory=list)
    coefficients: list[Array] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Name the unit vectors."""
        unit = np.eye(self.registers + 2)
        self.s = unit[: self.registers]
        self.x, self.d, self.noise = unit[0], unit[-2], unit[-1]

    def add(self, sigma: float, timestep: float, step: int, state: list[Array]) -> None:
        """Append a row: evaluate at ``sigma``, then S' = ``state`` (registers left out are 0)."""
        zero = np.zeros(self.registers + 2)
        self.sigmas.append(sigma)
        self.timesteps.append(timestep)
        self.finished.append(step)
        self.coefficients.append(np.stack(state + [zero] * (self.registers - len(state))))

    def table(self, sampler: str, levels: Levels) -> SamplerTable:
        """Return the finished table; its last row leaves only the picture in S[0]."""
        rows, k = np.stack(self.coefficients), self.registers
        rows[-1, 1:] = 0.0
        return SamplerTable(
            sampler=sampler,
            schedule=levels.schedule,
            steps=levels.steps,
            sigmas=np.array(self.sigmas),
            timesteps=np.array(self.timesteps),
            mix=rows[:, :, :k],
            denoised=rows[:, :, k],
            noise=rows[:, :, k + 1],
            initial_scale=float(np.sqrt(1 + levels.sigmas[0] ** 2)),
            step_of_row=np.array(self.finished, dtype=np.int64),
        )


@dataclass(frozen=True)
class Interval:
    """One step, from level ``s`` to level ``t``."""

    index: int
    s: float
    t: float
    timestep: float  # of s

    @property
    def q(self) -> float:
        """t/s: coefficients written in it do not cancel."""
        return self.t / self.s

    @property
    def h(self) -> float:
        """ln(s/t), the step in log-SNR; infinite for the step to 0."""
        return float(-np.log(self.q)) if self.t else np.inf

    def ancestral(self, eta: float) -> tuple[float, float]:
        """Return (down, up): step to ``down``, then add noise of ``up`` (Song et al. 2021, 16).

        With η = 1 down is t²/s; the usual square root of a difference loses it.
        """
        q = self.q
        down = self.t * np.sqrt(q * q + (1 - eta * eta) * (1 - q * q))
        return float(down), float(eta * self.t * np.sqrt(1 - q * q))


def intervals(levels: Levels) -> list[Interval]:
    """Return the n steps of these levels."""
    pairs = zip(levels.sigmas[:-1], levels.sigmas[1:], levels.timesteps, strict=True)
    return [Interval(i, float(s), float(t), float(at)) for i, (s, t, at) in enumerate(pairs)]


TimestepOf = Callable[[float], float]
Compile = Callable[[Levels, TimestepOf, float], SamplerTable]
"""(levels, timestep of a level in between, eta) → table."""
