"""The samplers we serve, by name, and how their tables are compiled."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np

from diffusion.errors import SamplerError
from diffusion.samplers import multistep, single_step, stochastic, two_stage
from diffusion.samplers.rows import Compile, Rows
from diffusion.samplers.table import SamplerTable
from diffusion.samplers.unipc import unipc
from diffusion.schedules.levels import OWN, Levels
from diffusion.schedules.schedule import NoiseSchedule, offered_schedules, sampling_levels
from diffusion.schedules.spread import SAMPLING_SCHEDULES


@dataclass(frozen=True, kw_only=True)
class SamplerInfo:
    """What is known of a sampler before it is compiled."""

    name: str
    title: str
    compile: Compile
    order: int = 1
    registers: int = 1
    stochastic: bool = False
    rows_per_step: int = 1
    rows_offset: int = 0
    eta: float | None = None  # its default; None where the method has none
    in_time: Compile | None = None  # the same in a flow's time
    default_schedule: str = "karras"
    schedules: tuple[str, ...] = SAMPLING_SCHEDULES  # of ours, where the model has them
    max_steps: int = 1000

    def rows(self, steps: int) -> int:
        """UNet evaluations of ``steps`` steps; one step is always one evaluation."""
        return 1 if steps == 1 else self.rows_per_step * steps + self.rows_offset

    def offered(self, noise_schedule: NoiseSchedule) -> tuple[str, ...]:
        """Return the schedules that it takes for a model; none: the model does not take it."""
        taken = (*self.schedules, OWN)
        available = offered_schedules(noise_schedule)
        return tuple(schedule for schedule in taken if schedule in available)

    def usual_schedule(self, noise_schedule: NoiseSchedule) -> str:
        """Return its default among those.

        Raises:
            SamplerError: there are none.
        """
        offered = self.offered(noise_schedule)
        if not offered:
            raise SamplerError(f"sampler {self.name!r} takes none of the model's schedules")
        default = noise_schedule.default_schedule or self.default_schedule
        return default if default in offered else offered[0]


_two_stage = partial(SamplerInfo, order=2, registers=2, rows_per_step=2, rows_offset=-1)
_ALL = (
    SamplerInfo(name="ddpm", title="DDPM", compile=single_step.ddpm, stochastic=True,
                default_schedule="trailing"),
    SamplerInfo(name="ddim", title="DDIM", compile=single_step.ancestral, eta=0.0,
                default_schedule="trailing"),
    SamplerInfo(name="euler", title="Euler", compile=single_step.euler),
    SamplerInfo(name="euler_ancestral", title="Euler a", compile=single_step.ancestral,
                stochastic=True, eta=1.0),
    _two_stage(name="heun", title="Heun", compile=two_stage.heun,
               in_time=two_stage.heun_in_time),
    _two_stage(name="dpm2", title="DPM2", compile=two_stage.dpm2),
    _two_stage(name="dpm2_ancestral", title="DPM2 a", compile=two_stage.dpm2,
               stochastic=True, eta=1.0),
    SamplerInfo(name="lms", title="LMS", compile=multistep.lms, order=4,
                registers=multistep.LMS_ORDER),
    SamplerInfo(name="dpmpp_2m", title="DPM++ 2M", compile=multistep.dpmpp_2m, order=2,
                registers=2),
    _two_stage(name="dpmpp_2s_ancestral", title="DPM++ 2S a",
               compile=two_stage.dpmpp_2s_ancestral, stochastic=True, eta=1.0),
    _two_stage(name="dpmpp_sde", title="DPM++ SDE", compile=two_stage.dpmpp_sde,
               stochastic=True, eta=1.0),
    SamplerInfo(name="dpmpp_2m_sde", title="DPM++ 2M SDE", compile=stochastic.dpmpp_2m_sde,
                order=2, registers=2, stochastic=True, eta=1.0),
    SamplerInfo(name="dpmpp_3m_sde", title="DPM++ 3M SDE", compile=stochastic.dpmpp_3m_sde,
                order=3, registers=3, stochastic=True, eta=1.0),
    SamplerInfo(name="unipc", title="UniPC", compile=unipc, order=2, registers=3),
    SamplerInfo(name="deis", title="DEIS", compile=multistep.deis, order=2, registers=2),
    SamplerInfo(name="plms", title="PLMS", compile=multistep.plms, order=4, registers=4,
                rows_offset=1, default_schedule="trailing"),
    SamplerInfo(name="lcm", title="LCM", compile=single_step.lcm, stochastic=True,
                default_schedule="trailing", schedules=("trailing", "leading")),
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
        raise SamplerError(f"unknown sampler {name!r}; available: {known}") from None


def compile_levels(
    sampler: str, noise_schedule: NoiseSchedule, levels: Levels, *, eta: float | None = None
) -> SamplerTable:
    """Compile a sampler over the caller's own levels.

    Raises:
        SamplerError: an unknown sampler, an eta it does not take, or a table that is not finite.
    """
    info = sampler_info(sampler)
    if eta is not None and (info.eta is None or not 0 <= eta <= 1):
        raise SamplerError(f"sampler {sampler!r} does not take eta {eta}")
    eta = info.eta or 0.0 if eta is None else eta
    rows = Rows(levels, noise_schedule, registers=info.registers, eta=eta)
    if levels.in_time and info.in_time is not None:
        info.in_time(rows)
    else:
        if rows.from_noise:
            rows.add_from_noise(1.0 if info.stochastic and info.eta is None else eta)
        if rows.intervals:
            info.compile(rows)
    table = rows.table(sampler)
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
    image_tokens: int | None = None,
) -> SamplerTable:
    """Compile a job's table; ``image_tokens`` is how many the image has, where levels depend on it.

    Raises:
        SamplerError: an unknown sampler, or a schedule, number of steps or eta it does not take.
        ScheduleError: levels that cannot be made.
    """
    info = sampler_info(sampler)
    schedule = schedule or info.usual_schedule(noise_schedule)
    if schedule not in (offered := info.offered(noise_schedule)):
        known = ", ".join(offered)
        raise SamplerError(f"sampler {sampler!r} takes schedules {known}, not {schedule!r}")
    if not 1 <= steps <= info.max_steps:
        raise SamplerError(f"sampler {sampler!r} takes 1 to {info.max_steps} steps, not {steps}")
    levels = sampling_levels(noise_schedule, schedule, steps, image_tokens=image_tokens)
    return compile_levels(sampler, noise_schedule, levels, eta=eta)
