"""What a model's noise schedule tells a sampler: the process it was trained on, and its levels."""

from collections.abc import Hashable
from math import isinf
from typing import Protocol

from diffusion.errors import ScheduleError
from diffusion.schedules.levels import OWN, Array, Levels
from diffusion.schedules.precondition import Preconditioning, PredictionType, Process


class Own(Protocol):
    """The model's own scheduler, read from its ``scheduler_config.json``."""

    @property
    def sampler(self) -> str:
        """The sampler of ours that takes its steps."""


class NoiseSchedule(Hashable, Protocol):
    """A linear process x_t = a·x_0 + s·ε that a model was trained on, in σ = s/a."""

    @property
    def process(self) -> Process:
        """Which one."""

    @property
    def prediction_type(self) -> PredictionType:
        """What the network returns."""

    @property
    def num_train_timesteps(self) -> int:
        """T: no job takes more steps."""

    @property
    def schedules(self) -> tuple[str, ...]:
        """The schedules of ours that can space its levels."""

    @property
    def default_schedule(self) -> str | None:
        """The usual one among them; None: each sampler has its own."""

    @property
    def own(self) -> Own | None:
        """The model's own scheduler, if we can follow it."""

    @property
    def not_own(self) -> str:
        """Why there is none."""

    def precondition(self, sigmas: Array) -> Preconditioning:
        """Return the coefficients that make the network's output the denoised estimate, (R,)."""

    def timestep_of(self, sigmas: Array) -> Array:
        """Return c_noise of positive levels."""

    def initial_scale(self, sigma: float) -> float:
        """Return what unit noise is multiplied by at the first level: σ for large ones."""

    def levels(self, schedule: str, steps: int, image_tokens: int | None) -> Levels:
        """Return the levels of a job; see :func:`sampling_levels`."""


def offered_schedules(noise_schedule: NoiseSchedule) -> tuple[str, ...]:
    """Return the schedules that a job may name, :data:`OWN` last."""
    return noise_schedule.schedules + (() if noise_schedule.own is None else (OWN,))


def sample_scale(noise_schedule: NoiseSchedule, sigma: float) -> float:
    """Return what a state at a level is multiplied by for x_t of about the images' own variance.

    That is a, where the state is x_t/a = x_0 + σ·ε: 1/√(1+σ²), or 1/(1+σ) in flow matching. An EDM
    model's own a is 1, which is no range to look at; it has 1/√(1+σ²), too. Where σ is infinite the
    state is unit noise as it is.
    """
    return 1.0 if isinf(sigma) else 1 / noise_schedule.initial_scale(sigma)


def sampling_levels(
    noise_schedule: NoiseSchedule, schedule: str, steps: int, *, image_tokens: int | None = None
) -> Levels:
    """Return the levels of ``steps`` sampling steps under one of :func:`offered_schedules`.

    Args:
        noise_schedule: the model's.
        schedule: a name; ``model`` is what the model's own ``scheduler_config.json`` says.
        steps: n.
        image_tokens: how many the image has, where the levels depend on its size.

    Raises:
        ScheduleError: a schedule that is not offered, or a number of steps outside 1..T.
    """
    most = noise_schedule.num_train_timesteps
    if not 1 <= steps <= most:
        raise ScheduleError(f"num_inference_steps {steps} is not in 1..{most}")
    if schedule == OWN and noise_schedule.own is None:
        raise ScheduleError(f"schedule {OWN!r} is not offered: {noise_schedule.not_own}")
    if schedule not in (offered := offered_schedules(noise_schedule)):
        raise ScheduleError(f"unknown schedule {schedule!r}; available: {', '.join(offered)}")
    return noise_schedule.levels(schedule, steps, image_tokens)
