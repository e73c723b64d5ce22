"""Samplers that remember nothing: one register, one evaluation a step."""

from diffusion.samplers.rows import Rows, TimestepOf, intervals
from diffusion.schedule import Levels
from diffusion.table import SamplerTable

LCM_SIGMA_DATA = 0.5
LCM_TIMESTEP_SCALING = 10.0


def euler(levels: Levels, timestep_of: TimestepOf, eta: float) -> SamplerTable:
    """Euler's method on the probability-flow ODE (Karras et al. 2022, algorithm 1)."""
    rows = Rows(1)
    for at in intervals(levels):
        rows.add(at.s, at.timestep, at.index + 1, [at.q * rows.x + (1 - at.q) * rows.d])
    return rows.table("euler", levels)


def ancestral(name: str, levels: Levels, eta: float) -> SamplerTable:
    """Step to the lower level, then add fresh noise back.

    In sigma space DDIM's equation 16 (Song et al. 2021), DDPM's posterior (Ho et al. 2020, eq. 7;
    η = 1) and k-diffusion's ancestral Euler are this one formula; they differ in their levels.
    """
    rows = Rows(1)
    for at in intervals(levels):
        down, up = at.ancestral(eta)
        ratio = down / at.s
        state = ratio * rows.x + (1 - ratio) * rows.d + up * rows.noise
        rows.add(at.s, at.timestep, at.index + 1, [state])
    return rows.table(name, levels)


def ddpm(levels: Levels, timestep_of: TimestepOf, eta: float) -> SamplerTable:
    """Ancestral sampling with the posterior's variance (Ho et al. 2020)."""
    return ancestral("ddpm", levels, 1.0)


def ddim(levels: Levels, timestep_of: TimestepOf, eta: float) -> SamplerTable:
    """Denoising diffusion implicit models, η = 0 deterministic (Song et al. 2021)."""
    return ancestral("ddim", levels, eta)


def euler_ancestral(levels: Levels, timestep_of: TimestepOf, eta: float) -> SamplerTable:
    """k-diffusion's ancestral Euler (Crowson 2022)."""
    return ancestral("euler_ancestral", levels, eta)


def lcm(levels: Levels, timestep_of: TimestepOf, eta: float) -> SamplerTable:
    """Latent consistency sampling: jump to the picture, noise it again (Luo et al. 2023).

    The boundary conditions c_skip and c_out are functions of the timestep.
    """
    rows = Rows(1)
    for at in intervals(levels):
        scaled = at.timestep * LCM_TIMESTEP_SCALING
        norm = scaled**2 + LCM_SIGMA_DATA**2
        c_skip, c_out = LCM_SIGMA_DATA**2 / norm, scaled / norm**0.5
        sample = rows.x / (1 + at.s**2) ** 0.5  # back to the training process' scale
        picture = c_out * rows.d + c_skip * sample
        rows.add(at.s, at.timestep, at.index + 1, [picture + at.t * rows.noise])
    return rows.table("lcm", levels)
