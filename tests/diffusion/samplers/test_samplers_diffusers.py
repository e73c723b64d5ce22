"""Compiled tables against diffusers' schedulers, each on the levels it chooses itself."""

from dataclasses import dataclass, field
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from diffusion.samplers.registry import compile_levels, compile_table
from diffusion.schedules.levels import OWN, Levels
from diffusion.schedules.vp import VPSchedule
from tests.diffusion.samplers.toy import SCHEDULE, SHAPE, Array, difference, run_table, toy_denoise

TRAINING = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}

pytestmark = [
    # diffusers hands torch tensors to numpy in set_timesteps.
    pytest.mark.filterwarnings("ignore:__array:DeprecationWarning"),
    # The toy denoiser scales its own input.
    pytest.mark.filterwarnings("ignore:The `scale_model_input`:UserWarning"),
]


@dataclass(frozen=True)
class Case:
    """One of our samplers, and the scheduler that does the same."""

    sampler: str
    scheduler: str
    options: dict[str, object] = field(default_factory=dict)
    arguments: dict[str, float] = field(default_factory=dict)  # of every step
    eta: float | None = None
    sigma_space: bool = False  # its samples are ours; others are at the training process' scale

    def make(self, steps: int) -> Any:
        """Return the scheduler, set to these steps."""
        kind = getattr(diffusers, self.scheduler)
        scheduler = kind(**TRAINING, num_train_timesteps=1000, **self.options)
        scheduler.set_timesteps(steps)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        return scheduler


LEADING: dict[str, object] = {"timestep_spacing": "leading"}
# "leading" keeps its previous timestep, t − 1000 // n, on the grid of its timesteps.
VP: dict[str, object] = {**LEADING, "clip_sample": False}
KARRAS: dict[str, object] = {"use_karras_sigmas": True}
SDE: dict[str, object] = {**KARRAS, "algorithm_type": "sde-dpmsolver++"}

CASES = {
    "euler": Case("euler", "EulerDiscreteScheduler", KARRAS, sigma_space=True),
    "euler linspace": Case("euler", "EulerDiscreteScheduler", sigma_space=True),
    "euler_ancestral": Case("euler_ancestral", "EulerAncestralDiscreteScheduler", sigma_space=True),
    "heun": Case("heun", "HeunDiscreteScheduler", KARRAS, sigma_space=True),
    "dpm2": Case("dpm2", "KDPM2DiscreteScheduler", KARRAS, sigma_space=True),
    "dpm2_ancestral": Case(
        "dpm2_ancestral", "KDPM2AncestralDiscreteScheduler", KARRAS, sigma_space=True
    ),
    "lms": Case("lms", "LMSDiscreteScheduler", KARRAS, sigma_space=True),
    "dpmpp_2m": Case("dpmpp_2m", "DPMSolverMultistepScheduler", KARRAS),
    "dpmpp_2m_sde": Case("dpmpp_2m_sde", "DPMSolverMultistepScheduler", SDE),
    "dpmpp_sde": Case("dpmpp_sde", "DPMSolverSDEScheduler", KARRAS, sigma_space=True),
    "ddpm": Case("ddpm", "DDPMScheduler", VP),
    "ddim": Case("ddim", "DDIMScheduler", VP, {"eta": 0.0}, 0.0),
    "ddim eta 1": Case("ddim", "DDIMScheduler", VP, {"eta": 1.0}, 1.0),
    "plms": Case(
        "plms", "PNDMScheduler", {**LEADING, "skip_prk_steps": True, "set_alpha_to_one": True}
    ),
    # It would end at first order below 15 steps, though it stops above level 0.
    "deis": Case("deis", "DEISMultistepScheduler", {"lower_order_final": False}),
    "unipc": Case("unipc", "UniPCMultistepScheduler", KARRAS),
    "lcm": Case("lcm", "LCMScheduler", {"clip_sample": False}),
}

# diffusers' float32: with so few steps a slope at level 0.03 undoes a step of length 14.
FEW_STEPS_TOLERANCE = {
    ("heun", 2): 2e-4,
    ("heun", 3): 5e-5,
    ("plms", 2): 2e-4,
    ("dpm2", 2): 1e-4,
    # Its sqrt(t² − up²) cancels in float32; ours is t²/s.
    ("dpm2_ancestral", 2): 5e-2,
    ("dpm2_ancestral", 3): 1e-3,
    # The one "leading" step is at level 0.03, whose estimate divides by it.
    ("ddpm", 1): 5e-5,
    ("ddim", 1): 5e-5,
    ("ddim eta 1", 1): 5e-5,
    ("plms", 1): 5e-5,
}


def _levels(scheduler: Any) -> Levels:
    """Return the levels a scheduler has set, each once."""
    if hasattr(scheduler, "sigmas"):
        sigmas = np.unique(np.asarray(scheduler.sigmas, dtype=np.float64))[::-1]
        if "KDPM2" in type(scheduler).__name__:  # it interleaves the midpoints
            sigmas = np.append(np.asarray(scheduler.sigmas, dtype=np.float64)[:-1:2], 0.0)
            sigmas = np.unique(sigmas)[::-1]
        timesteps = SCHEDULE.timestep_of(sigmas[:-1])
    else:
        timesteps = np.unique(np.asarray(scheduler.timesteps, dtype=np.float64))[::-1]
        sigmas = np.append(SCHEDULE.sigma_of(timesteps), 0.0)
    return Levels("own", sigmas, timesteps)


def _draws(count: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(1, *SHAPE, generator=generator) for _ in range(count)]


def _noise(case: Case, row: int) -> torch.Tensor:
    """Return the draw that diffusers uses in a row: two-stage samplers draw once a step."""
    draw = row // 2 if case.sampler == "dpm2_ancestral" else row
    return _draws(draw + 1)[-1]


class BrownianPath:
    """Gives diffusers' two-stage SDE sampler increments of one path, made of our draws."""

    def __init__(self) -> None:
        self._row = 0
        self._first: tuple[float, torch.Tensor] = (0.0, torch.zeros(1))

    def __call__(self, high: torch.Tensor, low: torch.Tensor) -> torch.Tensor:
        """Return the path's increment from ``high`` to ``low``, scaled to deviation 1."""
        draw = _draws(self._row + 1)[-1]
        length = float(high - low)
        self._row += 1
        if self._row % 2:
            self._first = (length, draw)
            return draw
        share = self._first[0] / length  # the first interval lies within this one
        mixed: torch.Tensor = share**0.5 * self._first[1] + (1 - share) ** 0.5 * draw
        return mixed


def _run_diffusers(case: Case, scheduler: Any, start: Array, sigmas: Array) -> Array:
    """Return the scheduler's result in sigma space; it draws what :func:`_draws` returns."""
    arguments: dict[str, Any] = dict(case.arguments)
    if case.sampler in {"euler_ancestral", "dpm2_ancestral", "dpmpp_2m_sde", "ddpm", "ddim", "lcm"}:
        arguments["generator"] = torch.Generator().manual_seed(5)
    if case.sampler == "dpmpp_sde":
        scheduler.noise_sampler = BrownianPath()
    scale = 1.0 if case.sigma_space else float(np.sqrt(1 + sigmas[0] ** 2))
    sample = torch.from_numpy(start / scale).float()[None]
    for timestep, sigma in zip(scheduler.timesteps, sigmas, strict=True):
        scale = 1.0 if case.sigma_space else float(np.sqrt(1 + sigma**2))
        x = sample[0].double().numpy() * scale
        epsilon = torch.from_numpy((x - toy_denoise(x, float(sigma))) / sigma).float()[None]
        sample = scheduler.step(epsilon, timestep, sample, return_dict=False, **arguments)[0]
    result: Array = sample[0].double().numpy()
    return result


@pytest.mark.parametrize("steps", [1, 2, 3, 10, 25, 50])
@pytest.mark.parametrize("name", CASES)
def test_table_equals_diffusers(name: str, steps: int) -> None:
    case = CASES[name]
    scheduler = case.make(steps)
    levels = _levels(scheduler)
    table = compile_levels(case.sampler, SCHEDULE, levels, eta=case.eta)
    start = table.initial_scale * _draws(1)[0][0].double().numpy()
    theirs = _run_diffusers(case, scheduler, start, table.sigmas)
    ours = run_table(table, start, lambda row: _noise(case, row)[0].double().numpy())
    ours /= np.sqrt(1 + levels.sigmas[-1] ** 2)  # deis stops above 0, at the training scale
    assert difference(ours, theirs) < FEW_STEPS_TOLERANCE.get((name, steps), 2e-5)


SD: dict[str, object] = {"steps_offset": 1, "skip_prk_steps": True}
OWN_CASES = {
    "Stable Diffusion 1.5": Case("plms", "PNDMScheduler", {**SD, "set_alpha_to_one": False}),
    "Stable Diffusion 2.1": Case(
        "ddim", "DDIMScheduler",
        {"steps_offset": 1, "set_alpha_to_one": False, "clip_sample": False}, {"eta": 0.0}, 0.0,
    ),
    "SDXL": Case(
        "euler", "EulerDiscreteScheduler", {**LEADING, "steps_offset": 1}, sigma_space=True
    ),
    "SDXL Lightning": Case(
        "euler", "EulerDiscreteScheduler", {"timestep_spacing": "trailing"}, sigma_space=True
    ),
    "SDXL Turbo": Case(
        "euler_ancestral", "EulerAncestralDiscreteScheduler", {"timestep_spacing": "trailing"},
        sigma_space=True,
    ),
    "2M with Karras levels": Case("dpmpp_2m", "DPMSolverMultistepScheduler", KARRAS),
    "2M": Case("dpmpp_2m", "DPMSolverMultistepScheduler", {**LEADING, "steps_offset": 1}),
    "UniPC": Case("unipc", "UniPCMultistepScheduler", {**LEADING, "steps_offset": 1}),
    "LCM": Case("lcm", "LCMScheduler", {"clip_sample": False}),
}  # fmt: skip
"""Schedulers as models are published with."""


@pytest.mark.parametrize("steps", [4, 10, 25, 50])
@pytest.mark.parametrize("name", OWN_CASES)
def test_a_model_s_own_schedule_equals_diffusers(name: str, steps: int) -> None:
    case = OWN_CASES[name]
    scheduler = case.make(steps)
    config = {"_class_name": case.scheduler, **TRAINING, **case.options}
    noise_schedule = VPSchedule.from_config(config)
    assert noise_schedule.own is not None
    assert noise_schedule.own.sampler == case.sampler
    table = compile_table(case.sampler, noise_schedule, schedule=OWN, steps=steps, eta=case.eta)
    start = table.initial_scale * _draws(1)[0][0].double().numpy()
    theirs = _run_diffusers(case, scheduler, start, table.sigmas)
    ours = run_table(table, start, lambda row: _noise(case, row)[0].double().numpy())
    assert difference(ours, theirs) < 5e-5
