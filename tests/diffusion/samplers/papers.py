"""Samplers as their papers write them, at the training process' scale: the tables' oracle."""

import itertools
import math

import numpy as np

from tests.diffusion.samplers.k_diffusion import Array, Denoise, Loop, Noise


def _alpha_bar(sigma: float) -> float:
    return 1 / (1 + sigma**2)


def ddpm(denoise: Denoise, x: Array, sigmas: Array, noise: Noise) -> Array:
    """Ho et al. 2020, eq. 6 and 7, at the training process' scale."""
    x = x * math.sqrt(_alpha_bar(sigmas[0]))
    for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
        now, then = _alpha_bar(s), _alpha_bar(t)
        alpha, beta = now / then, 1 - now / then
        x0 = denoise(x / math.sqrt(now), s)
        mean = math.sqrt(then) * beta * x0 + math.sqrt(alpha) * (1 - then) * x
        x = mean / (1 - now) + math.sqrt((1 - then) / (1 - now) * beta) * noise(i)
    return x


def ddim(eta: float) -> Loop:
    """Song et al. 2021, eq. 12 and 16."""

    def loop(denoise: Denoise, x: Array, sigmas: Array, noise: Noise) -> Array:
        x = x * math.sqrt(_alpha_bar(sigmas[0]))
        for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
            now, then = _alpha_bar(s), _alpha_bar(t)
            x0 = denoise(x / math.sqrt(now), s)
            epsilon = (x - math.sqrt(now) * x0) / math.sqrt(1 - now)
            added = eta * math.sqrt((1 - then) / (1 - now)) * math.sqrt(1 - now / then)
            left = math.sqrt(max(0.0, 1 - then - added**2))
            x = math.sqrt(then) * x0 + left * epsilon + added * noise(i)
        return x

    return loop


def plms(denoise: Denoise, x: Array, sigmas: Array, noise: Noise) -> Array:
    """Liu et al. 2022, eq. 11 and 12, started by the pseudo improved Euler step."""
    x = x * math.sqrt(_alpha_bar(sigmas[0]))
    past: list[Array] = []

    def epsilon(x: Array, s: float) -> Array:
        scaled = x * math.sqrt(1 + s**2)
        return (scaled - denoise(scaled, s)) / s

    def transfer(x: Array, e: Array, s: float, t: float) -> Array:
        now, then = _alpha_bar(s), _alpha_bar(t)
        below = math.sqrt((1 - then) * now) + math.sqrt((1 - now) * then)
        return math.sqrt(then / now) * x - (then - now) / (math.sqrt(now) * below) * e

    for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
        e = epsilon(x, s)
        if i == 0:
            mean = (e + epsilon(transfer(x, e, s, t), t)) / 2 if t > 0 else e
        elif i == 1:
            mean = (3 * e - past[0]) / 2
        elif i == 2:
            mean = (23 * e - 16 * past[0] + 5 * past[1]) / 12
        else:
            mean = (55 * e - 59 * past[0] + 37 * past[1] - 9 * past[2]) / 24
        x = transfer(x, mean, s, t)
        past = [e, *past[:2]]
    return x


def deis(denoise: Denoise, x: Array, sigmas: Array, noise: Noise) -> Array:
    """Zhang and Chen 2023, eq. 14: linear in ln σ, the integral by 40-point quadrature."""
    points, weights = np.polynomial.legendre.leggauss(40)
    past: tuple[Array, float] | None = None
    for s, t in itertools.pairwise(sigmas):
        slope = (x - denoise(x, s)) / s
        if past is None or t == 0:
            x = x + (t - s) * slope
        else:
            length = math.log(t / s)  # over ln σ the integrand is smooth
            u = length / 2 * (points + 1)
            old = length / 2 * float(np.sum(weights * u * s * np.exp(u))) / math.log(past[1] / s)
            x = x + (t - s - old) * slope + old * past[0]
        past = slope, s
    return x


def unipc(denoise: Denoise, x: Array, sigmas: Array, noise: Noise) -> Array:
    """Zhao et al. 2023, algorithms 5 and 6 of order 2, B(h) = e^h − 1, lower order at the end."""
    n = len(sigmas) - 1
    x = x * math.sqrt(_alpha_bar(sigmas[0]))
    base, past, order = x, [(x, 0.0)][:0], 1
    for i, s in enumerate(sigmas[:-1]):
        d = denoise(x * math.sqrt(1 + s**2), s)
        if i > 0:
            x = _unipc_step(base, past, s, order, d)
        if sigmas[i + 1] == 0:
            return d
        past = [(d, float(s)), *past[:1]]
        order = min(2, n - i, i + 1)
        base = x
        x = _unipc_step(base, past, float(sigmas[i + 1]), order, None)
    return x


def _unipc_step(
    x: Array, past: list[tuple[Array, float]], t: float, order: int, d: Array | None
) -> Array:
    """Predict, or with the new estimate ``d`` correct, the sample at level t."""
    m0, s = past[0]
    alpha = math.sqrt(_alpha_bar(t))
    h = math.log(s) - math.log(t)
    b = math.expm1(-h)
    ratios = [-math.log(past[1][1] / s) / h] if order == 2 else []
    differences = [(past[1][0] - m0) / ratios[0]] if order == 2 else []
    if d is not None:
        ratios, differences = [*ratios, 1.0], [*differences, d - m0]
    k = len(ratios)
    phi, rhs = b / -h - 1, []
    for i in range(1, k + 1):
        rhs.append(phi * math.factorial(i) / b)
        phi = phi / -h - 1 / math.factorial(i + 1)
    rho = np.linalg.solve([[r**i for r in ratios] for i in range(k)], rhs) if k else np.zeros(0)
    if k == 1:
        rho = np.array([0.5])  # the paper fixes it: it needs no equation
    scale = alpha * t / (math.sqrt(_alpha_bar(s)) * s)
    total = sum((r * e for r, e in zip(rho, differences, strict=True)), np.zeros_like(x))
    return scale * x - alpha * b * m0 - alpha * b * total


def lcm(timesteps: Array) -> Loop:
    """Luo et al. 2023, algorithm 3; σ_data is 0.5 and the timestep's scale 10."""

    def loop(denoise: Denoise, x: Array, sigmas: Array, noise: Noise) -> Array:
        x = x * math.sqrt(_alpha_bar(sigmas[0]))
        for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
            below = (10 * timesteps[i]) ** 2 + 0.25
            image = 0.25 / below * x
            image = image + 10 * timesteps[i] / math.sqrt(below) * denoise(
                x * math.sqrt(1 + s**2), s
            )
            then = _alpha_bar(t)
            x = math.sqrt(then) * image + math.sqrt(1 - then) * noise(i)
        return x

    return loop
