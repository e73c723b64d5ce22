"""Our table of a scheduler's configuration and diffusers' scheduler, over one network.

The network knows a mixture of Gaussians, so it is exact at every level, and it sees nothing but its
scaled input and its c_noise: a wrong timestep shows in the picture.
"""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import diffusers
import numpy as np
import torch
from numpy.typing import NDArray

from diffusion.samplers.registry import compile_table
from diffusion.samplers.table import SamplerTable
from diffusion.schedules.flow_own import Ends
from diffusion.schedules.levels import OWN
from diffusion.schedules.schedule import NoiseSchedule
from diffusion.schedules.scheduler_config import read_schedule
from diffusion.schedules.vp import VPSchedule

Array = NDArray[np.float64]
Network = Callable[[Array, float], Array]
SHAPE = (2, 4, 4)
MEANS, DEVIATION = np.array([-1.2, 0.1, 0.9]), 0.25
BETAS: dict[str, Any] = {
    "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012,
}  # fmt: skip


def estimate(x: Array, alpha: float, sigma: float) -> Array:
    """Return E[x_0 | alpha·x_0 + sigma·ε = x], per value."""
    variance = alpha**2 * DEVIATION**2 + sigma**2
    gap = x[..., None] - alpha * MEANS
    weights = np.exp(-(gap**2 - (gap**2).min(-1, keepdims=True)) / (2 * variance))
    weights /= weights.sum(-1, keepdims=True)
    each = MEANS + alpha * DEVIATION**2 / variance * gap
    return np.asarray((weights * each).sum(-1))


def network(noise_schedule: NoiseSchedule, sigma_data: float = 0.5) -> Network:
    """Return F(c_in·x, c_noise) of a network that was trained on such a schedule."""
    kind = noise_schedule.prediction_type

    def flow(x: Array, c_noise: float) -> Array:
        t = c_noise / noise_schedule.num_train_timesteps
        denoised = estimate(x, 1 - t, t)
        return np.asarray((x - (1 - t) * denoised) / t - denoised)

    def edm(x: Array, c_noise: float) -> Array:
        sigma = np.exp(4 * c_noise)
        norm = np.hypot(sigma, sigma_data)
        noisy = x * norm
        output = (estimate(noisy, 1.0, sigma) - sigma_data**2 / norm**2 * noisy) * norm
        output /= sigma * sigma_data
        return np.asarray(output if kind == "epsilon" else -output)

    def vp(x: Array, c_noise: float) -> Array:
        assert isinstance(noise_schedule, VPSchedule)
        sigma = float(noise_schedule.sigma_of(np.asarray(c_noise)))
        alpha = 1 / np.hypot(1, sigma)
        s = 1.0 if np.isinf(sigma) else sigma * alpha
        denoised = estimate(x, alpha, s)
        noise = (x - alpha * denoised) / s
        if kind == "epsilon":
            return np.asarray(noise)
        return denoised if kind == "sample" else np.asarray(alpha * noise - s * denoised)

    return {"flow": flow, "edm": edm, "vp": vp}[noise_schedule.process]


@dataclass(frozen=True)
class Case:
    """A scheduler as a model is published with."""

    scheduler: str
    sampler: str
    options: dict[str, Any] = field(default_factory=dict)
    ends: Ends = "twice_shifted"
    image_tokens: int | None = None
    eta: float | None = None

    @property
    def config(self) -> dict[str, Any]:
        """Return its ``scheduler_config.json``."""
        return {"_class_name": self.scheduler, **self.options}

    def schedule(self) -> NoiseSchedule:
        """Return what we read in it."""
        return read_schedule(self.config, ends=self.ends)

    def make(self, steps: int) -> Any:
        """Return diffusers' scheduler, set as its pipeline sets it."""
        scheduler = getattr(diffusers, self.scheduler)(**self.options)
        arguments: dict[str, Any] = {}
        if self.ends == "once_shifted":
            arguments["sigmas"] = np.linspace(1.0, 1 / steps, steps)
        if self.options.get("use_dynamic_shifting"):
            base, most = (scheduler.config.get(f"{e}_image_seq_len", n) for e, n in
                          (("base", 256), ("max", 4096)))  # fmt: skip
            low, high = (scheduler.config.get(f"{e}_shift", n) for e, n in
                         (("base", 0.5), ("max", 1.15)))  # fmt: skip
            assert self.image_tokens is not None
            arguments["mu"] = low + (high - low) / (most - base) * (self.image_tokens - base)
        scheduler.set_timesteps(steps, **arguments)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(0)
        return scheduler


def unit_noise(count: int) -> list[Array]:
    """Return the draws that diffusers' schedulers take from their generator."""
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(1, *SHAPE, generator=generator)[0].double().numpy() for _ in range(count)]


def ours(case: Case, steps: int, start: Array, model: Network) -> Array:
    """Return the image of the model's own schedule and sampler."""
    noise_schedule = case.schedule()
    assert noise_schedule.own is not None, noise_schedule.not_own
    assert noise_schedule.own.sampler == case.sampler
    table = compile_table(
        case.sampler, noise_schedule, schedule=OWN, steps=steps, eta=case.eta,
        image_tokens=case.image_tokens,
    )  # fmt: skip
    # KDPM2 draws once a step, in its second stage.
    drawn = [row // 2 if case.sampler == "dpm2_ancestral" else row for row in range(table.rows)]
    draws = unit_noise(table.rows)
    return run(table, start, model, [draws[row] for row in drawn])


def run(table: SamplerTable, start: Array, model: Network, noise: list[Array]) -> Array:
    """Return what a table makes of unit noise, in float64."""
    state = np.zeros((table.registers, *SHAPE))
    state[0] = table.initial_scale * start
    for row in range(table.rows):
        x = state[0]
        output = model(table.c_in[row] * x, float(table.timesteps[row]))
        denoised = table.c_skip[row] * x + table.c_out[row] * output
        state = (
            np.tensordot(table.mix[row], state, 1)
            + table.denoised[row][:, None, None, None] * denoised
            + table.noise[row][:, None, None, None] * noise[row]
        )
    return np.asarray(state[0])


def theirs(case: Case, steps: int, start: Array, model: Network, *, exact: bool = False) -> Array:
    """Return diffusers' image; ``exact`` asks the network at the state's own level."""
    scheduler = case.make(steps)
    arguments: dict[str, Any] = {}
    taken = inspect.signature(scheduler.step).parameters
    if "generator" in taken:
        arguments["generator"] = torch.Generator().manual_seed(5)
    if "eta" in taken and case.eta is not None:
        arguments["eta"] = case.eta
    scale = float(getattr(scheduler, "init_noise_sigma", 1.0))
    sample = torch.from_numpy(scale * start).float()[None]
    for i, timestep in enumerate(scheduler.timesteps):
        scaled = sample
        if hasattr(scheduler, "scale_model_input"):
            scaled = scheduler.scale_model_input(sample, timestep)
        c_noise = 1000 * float(scheduler.sigmas[i]) if exact else float(timestep)
        output = model(scaled[0].double().numpy(), c_noise)
        step = scheduler.step(torch.from_numpy(output).float()[None], timestep, sample, **arguments)
        sample = step.prev_sample
    return np.asarray(sample[0].double().numpy())


def difference(case: Case, steps: int, *, exact: bool = False, sigma_data: float = 0.5) -> float:
    """Return the largest difference between the two, relative to the largest value."""
    start = unit_noise(1)[0]
    model = network(case.schedule(), sigma_data)
    left, right = ours(case, steps, start, model), theirs(case, steps, start, model, exact=exact)
    return float(np.abs(left - right).max() / np.abs(right).max())
