"""Samplers without memory: one register, one evaluation a step."""

from diffusion.samplers.rows import Rows

LCM_SIGMA_DATA = 0.5
LCM_TIMESTEP_SCALING = 10.0


def euler(rows: Rows) -> None:
    """Euler's method on the probability-flow ODE (Karras et al. 2022, algorithm 1)."""
    for at in rows.intervals:
        rows.add(at, at.q * rows.x + (1 - at.q) * rows.d)


def ancestral(rows: Rows, eta: float | None = None, *, large_noise: bool = False) -> None:
    """Step to the lower level, then add fresh noise back.

    In sigma space DDIM's equation 16 (Song et al. 2021), DDPM's posterior (Ho et al. 2020, eq. 7;
    η = 1) and k-diffusion's ancestral Euler (Crowson 2022) are this one formula; they differ in
    their levels.
    """
    for at in rows.intervals:
        down, up = at.ancestral(rows.eta if eta is None else eta)
        up = at.large_noise if large_noise else up
        ratio = down / at.s
        rows.add(at, ratio * rows.x + (1 - ratio) * rows.d + up * rows.noise)


def ddpm(rows: Rows) -> None:
    """Ancestral sampling with the posterior's variance, or a model's own β_t (Ho et al. 2020)."""
    ancestral(rows, 1.0, large_noise=rows.levels.large_noise)


def lcm(rows: Rows) -> None:
    """Latent consistency sampling: jump to the image, noise it again (Luo et al. 2023).

    The boundary conditions c_skip and c_out are functions of the timestep; only the process that
    latent consistency models are distilled from has them.
    """
    for at in rows.intervals:
        if rows.process != "vp":
            rows.add(at, rows.d + at.t * rows.noise)
            continue
        scaled = at.timestep * LCM_TIMESTEP_SCALING
        norm = scaled**2 + LCM_SIGMA_DATA**2
        c_skip, c_out = LCM_SIGMA_DATA**2 / norm, scaled / norm**0.5
        sample = rows.x / (1 + at.s**2) ** 0.5  # back to the training process' scale
        image = c_out * rows.d + c_skip * sample
        rows.add(at, image + at.t * rows.noise)
