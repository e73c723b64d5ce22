"""Multistep samplers: one evaluation a step, and a memory of earlier ones."""

import numpy as np
from numpy.typing import NDArray

from diffusion.samplers.rows import Interval, Rows

Array = NDArray[np.float64]
LMS_ORDER = 4
LMS_COEFFICIENT_LIMIT = 100.0
"""The order is lowered where extrapolation multiplies a slope by more than this times the step:
float32 states would lose their digits (4.5e4 at the last of 1000 Karras levels)."""

GAUSS_POINTS = np.array([-1, 1]) / np.sqrt(3)  # both weigh 1; exact up to degree 3


def lms(rows: Rows) -> None:
    """Linear multistep in sigma, up to order 4 (Adams-Bashforth; k-diffusion). S[1:]: slopes."""
    levels = np.array([at.s for at in rows.intervals])
    for at in rows.intervals:
        slopes = [(rows.x - rows.d) / at.s, *rows.s[1:]]
        order = min(at.index + 1, LMS_ORDER)
        weights = _adams_bashforth(levels, at, order)
        while order > 1 and np.abs(weights).max() > LMS_COEFFICIENT_LIMIT * (at.s - at.t):
            order -= 1
            weights = _adams_bashforth(levels, at, order)
        state = rows.x + sum(w * d for w, d in zip(weights, slopes, strict=False))
        rows.add(at, state, *slopes[: LMS_ORDER - 1])


def _adams_bashforth(sigmas: Array, at: Interval, order: int) -> Array:
    """Integrate the Lagrange basis over the last ``order`` levels from s to t, exactly."""
    nodes = sigmas[at.index - np.arange(order)]
    half = (at.t - at.s) / 2
    points = at.s + half + half * GAUSS_POINTS
    result = np.empty(order)
    for j in range(order):
        others = np.delete(nodes, j)
        basis = np.prod((points[:, None] - others) / (nodes[j] - others), axis=1)
        result[j] = half * basis.sum()
    return result


def plms(rows: Rows) -> None:
    """Pseudo linear multistep (Liu et al. 2022, without its Runge-Kutta start).

    The second level is evaluated twice. S[1:]: past slopes; during the start S[1] holds the
    first sample and S[2] the first slope.
    """
    steps = rows.intervals
    first = steps[0]
    slope = (rows.x - rows.d) / first.s
    euler = rows.x + (first.t - first.s) * slope
    if len(steps) == 1:
        rows.add(first, euler)
        return
    rows.add(first, euler, rows.x, slope, finished=0)
    second = steps[1]
    slope = (rows.x - rows.d) / second.s
    state = rows.s[1] + (first.t - first.s) * (slope + rows.s[2]) / 2
    rows.add(second, state, rows.s[2], finished=1)
    weights = {
        2: (3 / 2, -1 / 2),
        3: (23 / 12, -16 / 12, 5 / 12),
        4: (55 / 24, -59 / 24, 37 / 24, -9 / 24),
    }
    for at in steps[1:]:
        slopes = [(rows.x - rows.d) / at.s, *rows.s[1:]]
        order = min(at.index + 1, 4)
        mean = sum(w * d for w, d in zip(weights[order], slopes, strict=False))
        rows.add(at, rows.x + (at.t - at.s) * mean, *slopes[:3])


def deis(rows: Rows) -> None:
    """Exponential integrator, order 2 in log ρ (Zhang and Chen 2023). S[1]: the last slope.

    The slope is interpolated linearly in ln σ and integrated over σ; the step to 0 is first order.
    """
    last: Interval | None = None
    for at in rows.intervals:
        slope = (rows.x - rows.d) / at.s
        if last is None or at.first_order:
            state = rows.x + (at.t - at.s) * slope
        else:
            integral = at.t * (np.log(at.q) - 1) + at.s  # ∫ ln(σ/s) dσ from s to t
            state = rows.x + (at.t - at.s) * slope
            state = state + integral / np.log(last.s / at.s) * (rows.s[1] - slope)
        rows.add(at, state, slope)
        last = at


def dpmpp_2m(rows: Rows) -> None:
    """DPM-Solver++(2M) (Lu et al. 2022b, algorithm 2). S[1]: the last denoised estimate."""
    last: Interval | None = None
    for at in rows.intervals:
        estimate = rows.d
        if last is not None and not at.first_order:
            estimate = rows.d + at.h / (2 * last.h) * (rows.d - rows.s[1])
        rows.add(at, at.q * rows.x + (1 - at.q) * estimate, rows.d)
        last = at
