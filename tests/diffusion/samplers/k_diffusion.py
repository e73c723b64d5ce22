"""Samplers as k-diffusion writes them, loops in float64: the tables' oracle.

Each loop takes the denoiser D(x, σ), the starting sample in sigma space, the levels (n + 1,)
ending in 0, and unit noise by evaluation number; it returns the final sample.
"""

import itertools
import math
from collections.abc import Callable
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Denoise = Callable[[Array, float], Array]
Noise = Callable[[int], Array]
Loop = Callable[[Denoise, Array, Array, Noise], Array]


def ancestral_step(s: float, t: float, eta: float = 1.0) -> tuple[float, float]:
    """Return (σ_down, σ_up) as k-diffusion does."""
    up = min(t, eta * math.sqrt(t**2 * (s**2 - t**2) / s**2))
    return math.sqrt(t**2 - up**2), up


def euler(denoise: Denoise, x: Array, sigmas: Array, noise: Noise) -> Array:
    """Karras et al. 2022, algorithm 1 without its correction."""
    for s, t in itertools.pairwise(sigmas):
        x = x + (t - s) * (x - denoise(x, s)) / s
    return x


def euler_ancestral(denoise: Denoise, x: Array, sigmas: Array, noise: Noise) -> Array:
    """Euler to σ_down, then noise of σ_up."""
    for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
        down, up = ancestral_step(s, t)
        x = x + (down - s) * (x - denoise(x, s)) / s + up * noise(i)
    return x


def heun(denoise: Denoise, x: Array, sigmas: Array, noise: Noise) -> Array:
    """Karras et al. 2022, algorithm 1."""
    for s, t in itertools.pairwise(sigmas):
        d = (x - denoise(x, s)) / s
        ahead = x + (t - s) * d
        if t > 0:
            d = (d + (ahead - denoise(ahead, t)) / t) / 2
        x = x + (t - s) * d
    return x


def midpoint(eta: float) -> Loop:
    """DPM-Solver-2 with the geometric midpoint (Lu et al. 2022a), ancestral where η > 0."""

    def loop(denoise: Denoise, x: Array, sigmas: Array, noise: Noise) -> Array:
        row = 0
        for s, t in itertools.pairwise(sigmas):
            down, up = ancestral_step(s, t, eta)
            d = (x - denoise(x, s)) / s
            if down == 0:
                x = x + (down - s) * d
                continue
            middle = math.exp((math.log(s) + math.log(down)) / 2)
            half = x + (middle - s) * d
            d = (half - denoise(half, middle)) / middle
            x = x + (down - s) * d + up * noise(row + 1)
            row += 2
        return x

    return loop


def lms(denoise: Denoise, x: Array, sigmas: Array, noise: Noise) -> Array:
    """Adams-Bashforth over the actual levels, up to order 4; the integrals are exact fractions."""
    slopes: list[Array] = []
    for i, s in enumerate(sigmas[:-1]):
        slopes = [(x - denoise(x, s)) / s, *slopes[:3]]
        nodes = [Fraction(float(sigmas[i - j])) for j in range(len(slopes))]
        ends = Fraction(float(s)), Fraction(float(sigmas[i + 1]))
        x = x + sum(_lagrange(nodes, j, *ends) * d for j, d in enumerate(slopes))
    return x


def _lagrange(nodes: list[Fraction], j: int, low: Fraction, high: Fraction) -> float:
    """Return the integral of the j-th Lagrange polynomial, in exact arithmetic."""
    polynomial = [Fraction(1)]  # rising powers
    for k, node in enumerate(nodes):
        if k != j:
            gap = nodes[j] - node
            shifted = [Fraction(0), *polynomial]
            polynomial = [
                (a - node * b) / gap
                for a, b in zip(shifted, [*polynomial, Fraction(0)], strict=True)
            ]
    return float(
        sum(c * (high ** (p + 1) - low ** (p + 1)) / (p + 1) for p, c in enumerate(polynomial))
    )


def dpmpp_2m(denoise: Denoise, x: Array, sigmas: Array, noise: Noise) -> Array:
    """Lu et al. 2022b, algorithm 2, first order to level 0."""
    past: tuple[Array, float] | None = None
    for s, t in itertools.pairwise(sigmas):
        d = denoise(x, s)
        h = math.log(s / t) if t > 0 else math.inf
        mixed = d
        if past is not None and t > 0:
            r = past[1] / h
            mixed = (1 + 1 / (2 * r)) * d - 1 / (2 * r) * past[0]
        x = t / s * x - math.expm1(-h) * mixed
        past = d, h
    return x


def dpmpp_2s_ancestral(denoise: Denoise, x: Array, sigmas: Array, noise: Noise) -> Array:
    """Lu et al. 2022b, algorithm 1, to σ_down; then noise."""
    row = 0
    for s, t in itertools.pairwise(sigmas):
        down, up = ancestral_step(s, t)
        d = denoise(x, s)
        if down == 0:
            x = x + (down - s) * (x - d) / s
            continue
        h = math.log(s) - math.log(down)
        middle = math.exp(math.log(s) - h / 2)
        half = middle / s * x - math.expm1(-h / 2) * d
        x = down / s * x - math.expm1(-h) * denoise(half, middle) + up * noise(row + 1)
        row += 2
    return x


def dpmpp_sde(denoise: Denoise, x: Array, sigmas: Array, noise: Noise) -> Array:
    """k-diffusion's, r = 1/2; a step's two noises come of one Brownian path over σ."""
    row = 0
    for s, t in itertools.pairwise(sigmas):
        d = denoise(x, s)
        if t == 0:
            x = x + (t - s) * (x - d) / s
            continue
        middle = math.exp((math.log(s) + math.log(t)) / 2)
        first = math.sqrt(s - middle) * noise(row)
        second = math.sqrt(middle - t) * noise(row + 1)
        down, up = ancestral_step(s, middle)
        half = down / s * x - math.expm1(math.log(down / s)) * d
        half = half + up * first / math.sqrt(s - middle)
        down, up = ancestral_step(s, t)
        x = down / s * x - math.expm1(math.log(down / s)) * denoise(half, middle)
        x = x + up * (first + second) / math.sqrt(s - t)
        row += 2
    return x


def dpmpp_2m_sde(denoise: Denoise, x: Array, sigmas: Array, noise: Noise) -> Array:
    """k-diffusion's midpoint form, η = 1."""
    past: tuple[Array, float] | None = None
    for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
        d = denoise(x, s)
        if t == 0:
            return d
        h = math.log(s) - math.log(t)
        x = t / s * math.exp(-h) * x - math.expm1(-2 * h) * d
        if past is not None:
            r = past[1] / h
            x = x - 0.5 * math.expm1(-2 * h) / r * (d - past[0])
        x = x + t * math.sqrt(-math.expm1(-2 * h)) * noise(i)
        past = d, h
    return x


def dpmpp_3m_sde(denoise: Denoise, x: Array, sigmas: Array, noise: Noise) -> Array:
    """k-diffusion's, η = 1."""
    past: list[tuple[Array, float]] = []
    for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
        d = denoise(x, s)
        if t == 0:
            return d
        h = math.log(s) - math.log(t)
        double = 2 * h
        x = math.exp(-double) * x - math.expm1(-double) * d
        phi_2 = math.expm1(-double) / double + 1
        phi_3 = phi_2 / double - 0.5
        if len(past) == 2:
            r0, r1 = past[0][1] / h, past[1][1] / h
            d10, d11 = (d - past[0][0]) / r0, (past[0][0] - past[1][0]) / r1
            d1 = d10 + (d10 - d11) * r0 / (r0 + r1)
            x = x + phi_2 * d1 - phi_3 * (d10 - d11) / (r0 + r1)
        elif past:
            x = x + phi_2 * (d - past[0][0]) / (past[0][1] / h)
        x = x + t * math.sqrt(-math.expm1(-2 * h)) * noise(i)
        past = [(d, h), *past[:1]]
    return x
