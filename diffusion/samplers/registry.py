"""The samplers we serve, by name, and the one way to compile a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from diffusion.errors import SamplerError
from diffusion.samplers import multistep, single_step, stochastic, two_stage
from diffusion.samplers.rows import Compile
from diffusion.samplers.unipc import unipc
from diffusion.schedule import SAMPLING_SCHEDULES, Levels, NoiseSchedule, sampling_levels
from diffusion.table import SamplerTable


@dataclass(frozen=True)
class SamplerInfo:
    """What a caller may know of a sampler before it compiles one."""

    name: str
    title: str
    order: int
    registers: int
    compile: Compile
    stochastic: bool = False
    rows_per_step: int = 1
    rows_offset: int = 0
    eta: float | None = None  # its default, None where the method has none
    default_schedule: str = "karras"
    schedules: tuple[str, ...] = SAMPLING_SCHEDULES
    max_steps: int = 1000

    def rows(self, steps: int) -> int:
        """UNet evaluations of ``steps`` steps; one step is always one evaluation."""
        return 1 if steps == 1 else self.rows_per_step * steps + self.rows_offset


_ALL = (
    SamplerInfo("ddpm", "DDPM", 1, 1, single_step.ddpm, True, default_schedule="trailing"),
    SamplerInfo("ddim", "DDIM", 1, 1, single_step.ddim, eta=0.0, default_schedule="trailing"),
    SamplerInfo("euler", "Euler", 1, 1, single_step.euler),
    SamplerInfo("euler_ancestral", "Euler a", 1, 1, single_step.euler_ancestral, True, eta=1.0),
    SamplerInfo("heun", "Heun", 2, 2, two_stage.heun, False, 2, -1),
    SamplerInfo("dpm2", "DPM2", 2, 2, two_stage.dpm2, False, 2, -1),
    SamplerInfo(
        "dpm2_ancestral", "DPM2 a", 2, 2, two_stage.dpm2_ancestral, True, 2, -1, eta=1.0
    ),
    SamplerInfo("lms", "LMS", 4, 4, multistep.lms),
    SamplerInfo("dpmpp_2m", "DPM++ 2M", 2, 2, multistep.dpmpp_2m),
    SamplerInfo(
        "dpmpp_2s_ancestral", "DPM++ 2S a", 2, 2, two_stage.dpmpp_2s_ancestral, True, 2, -1, 1.0
    ),
    SamplerInfo("dpmpp_sde", "DPM++ SDE", 2, 2, two_stage.dpmpp_sde, True, 2, -1, 1.0),
    SamplerInfo("dpmpp_2m_sde", "DPM++ 2M SDE", 2, 2, stochastic.dpmpp_2m_sde, True, eta=1.0),
    SamplerInfo("dpmpp_3m_sde", "DPM++ 3M SDE", 3, 3, stochastic.dpmpp_3m_sde, True, eta=1.0),
    SamplerInfo("unipc", "UniPC", 2, 3, unipc),
    SamplerInfo("deis", "DEIS", 2, 2, multistep.deis),
    SamplerInfo("plms", "PLMS", 4, 4, multistep.plms, False, 1, 1, default_schedule="trailing"),
    SamplerInfo(
        "lcm", "LCM", 1, 1, single_step.lcm, True, default_schedule="trailing",
        schedules=("trailing", "leading"),
    ),
)  # fmt: skip

SAMPLERS: Mapping[str, SamplerInfo] = MappingProxyType({info.name: info for info in _ALL})
MAX_REGISTERS = max(info.registers for info in _ALL)


def sampler_info(name: str) -> SamplerInfo:
    """Return the sampler of this name.

    Raises:
        SamplerError: there is none.
    """
    try:
        return SAMPLERS[name]
    except KeyError:
        known = ", ".join(SAMPLERS)
        raise SamplerError(f"unknown sampler {name!r}; there are: {known}") from None


def compile_levels(
    sampler: str, noise_schedule: NoiseSchedule, levels: Levels, *, eta: float | None = None
) -> SamplerTable:
    """Compile a sampler over levels of the caller's own.

    Raises:
        SamplerError: an unknown sampler, an eta it does not take, or a table that is not finite.
    """
    info = sampler_info(sampler)
    if eta is not None and (info.eta is None or not 0 <= eta <= 1):
        raise SamplerError(f"sampler {sampler!r} does not take eta {eta}")
    value = eta if eta is not None else info.eta or 0.0

    def timestep_of(sigma: float) -> float:
        at = np.flatnonzero(levels.sigmas[:-1] == sigma)
        if len(at):
            return float(levels.timesteps[at[0]])
        return float(noise_schedule.timestep_of(np.asarray(sigma)))

    table = info.compile(levels, timestep_of, value)
    if not all(np.isfinite(a).all() for a in (table.mix, table.denoised, table.noise)):
        raise SamplerError(f"sampler {sampler!r} has no finite table for these levels")
    return table


def compile_table(
    sampler: str,
    noise_schedule: NoiseSchedule,
    *,
    schedule: str | None = None,
    steps: int,
    eta: float | None = None,
) -> SamplerTable:
    """Compile a job's table; equal arguments share one.

    Raises:
        SamplerError: an unknown sampler, or a schedule, number of steps or eta it does not take.
        ScheduleError: levels that cannot be made.
    """
    return _compile(sampler, noise_schedule, schedule, steps, eta)


@lru_cache(maxsize=256)
def _compile(
    sampler: str, noise_schedule: NoiseSchedule, schedule: str | None, steps: int, eta: float | None
) -> SamplerTable:
    info = sampler_info(sampler)
    schedule = schedule or info.default_schedule
    if schedule not in info.schedules:
        known = ", ".join(info.schedules)
        raise SamplerError(f"sampler {sampler!r} takes schedules {known}, not {schedule!r}")
    if not 1 <= steps <= info.max_steps:
        raise SamplerError(f"sampler {sampler!r} takes 1 to {info.max_steps} steps, not {steps}")
    levels = sampling_levels(noise_schedule, schedule, steps)
    return compile_levels(sampler, noise_schedule, levels, eta=eta)
