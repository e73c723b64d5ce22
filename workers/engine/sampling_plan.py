"""A sampler's table in the form that the tick reads: packed rows and plain numbers."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from diffusion.denoiser import Level, levels_of
from diffusion.samplers.registry import MAX_REGISTERS, compile_table
from diffusion.samplers.table import SamplerTable
from diffusion.schedules.schedule import NoiseSchedule


@dataclass(frozen=True, eq=False)
class SamplingPlan:
    """The rows that an image is evaluated at, shared by images of equal sampling settings."""

    table: SamplerTable
    packed: NDArray[np.float32]  # (R, K·K + 2·K): mix, denoised, noise of each row
    noisy: tuple[bool, ...]  # (R,) whether a row draws noise
    levels: tuple[Level, ...]  # (R,)
    steps_done: tuple[int, ...]  # (R + 1,) sampling steps finished before each row, and at the end
    fingerprint: str

    @property
    def rows(self) -> int:
        """R, the number of UNet evaluations."""
        return len(self.levels)


@lru_cache(maxsize=256)
def sampling_plan(
    sampler: str,
    noise_schedule: NoiseSchedule,
    schedule: str,
    steps: int,
    eta: float | None,
    image_tokens: int | None = None,
) -> SamplingPlan:
    """Return the plan of these sampling settings.

    Raises:
        SamplerError, ScheduleError: the settings cannot be compiled.
    """
    table = compile_table(
        sampler, noise_schedule, schedule=schedule, steps=steps, eta=eta, image_tokens=image_tokens
    )
    padded = table.padded(MAX_REGISTERS)
    parts = [a.reshape(table.rows, -1) for a in (padded.mix, padded.denoised, padded.noise)]
    return SamplingPlan(
        table=table,
        packed=np.concatenate(parts, axis=1).astype(np.float32),
        noisy=tuple(np.any(table.noise != 0, axis=1).tolist()),
        levels=levels_of(table),
        steps_done=(0, *table.step_of_row.tolist()),
        fingerprint=table.fingerprint(),
    )
