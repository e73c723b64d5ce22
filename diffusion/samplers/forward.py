"""The forward process in closed form, and the velocity a network may be trained to predict."""

from torch import Tensor


def _at(values: Tensor, timesteps: Tensor, like: Tensor) -> Tensor:
    return values.to(like)[timesteps].reshape(-1, *[1] * (like.ndim - 1))


def add_noise(x0: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Return x_t = sqrt(ᾱ_t)·x_0 + sqrt(1 − ᾱ_t)·ε (Ho et al. 2020, eq. 4).

    Shapes: ``x0`` and ``noise`` (B, …), ``timesteps`` (B,) integers, ``alphas_cumprod`` (T,).
    """
    alpha = _at(alphas_cumprod, timesteps, x0)
    return alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise


def velocity(x0: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor) -> Tensor:
    """Return v = sqrt(ᾱ_t)·ε − sqrt(1 − ᾱ_t)·x_0 (Salimans and Ho 2022, appendix D)."""
    alpha = _at(alphas_cumprod, timesteps, x0)
    return alpha.sqrt() * noise - (1 - alpha).sqrt() * x0
