"""Multistep solvers of the reverse SDE: one evaluation a step, each with fresh noise."""

import numpy as np
from numpy.typing import NDArray

from diffusion.samplers.rows import Interval, Rows

Array = NDArray[np.float64]


def _noise_level(at: Interval, eta: float) -> float:
    """Return the deviation of the noise a step adds: t·sqrt(1 − q^2η)."""
    return float(at.t * np.sqrt(-np.expm1(-2 * eta * at.h)))


def dpmpp_2m_sde(rows: Rows) -> None:
    """DPM-Solver++(2M) on the SDE, midpoint form (Lu et al. 2022b; k-diffusion). S[1]: last D."""
    last: Interval | None = None
    for at in rows.intervals:
        if at.t == 0:
            state = rows.d
        else:
            gain = -np.expm1(-(1 + rows.eta) * at.h)
            state = (1 - gain) * rows.x + gain * rows.d + _noise_level(at, rows.eta) * rows.noise
            if last is not None and not at.first_order:
                state = state + gain * at.h / (2 * last.h) * (rows.d - rows.s[1])
        rows.add(at, state, rows.d)
        last = at


def dpmpp_3m_sde(rows: Rows) -> None:
    """DPM-Solver++(3M) on the SDE (k-diffusion). S[1], S[2]: the last two denoised estimates."""
    past: list[Interval] = []
    for at in rows.intervals:
        state = rows.d if at.t == 0 else _third_order(rows, at, past)
        rows.add(at, state, rows.d, rows.s[1])
        past = [at, *past[:1]]


def _third_order(rows: Rows, at: Interval, past: list[Interval]) -> Array:
    h = (1 + rows.eta) * at.h
    gain = float(-np.expm1(-h))
    state: Array = (1 - gain) * rows.x + gain * rows.d + _noise_level(at, rows.eta) * rows.noise
    if not past:
        return state
    phi_2, phi_3 = phi(h)
    r0 = past[0].h / at.h
    slope = (rows.d - rows.s[1]) / r0
    if len(past) == 1:
        state = state + phi_2 * slope
        return state
    r1 = past[1].h / at.h
    older = (rows.s[1] - rows.s[2]) / r1
    first = slope + (slope - older) * r0 / (r0 + r1)
    second = (slope - older) / (r0 + r1)
    state = state + phi_2 * first - phi_3 * second
    return state


def phi(h: float) -> tuple[float, float]:
    """Return φ₂ = 1 + expm1(−h)/h and φ₃ = φ₂/h − 1/2, by their series where these cancel."""
    if h > 0.1:
        phi_2 = float(np.expm1(-h) / h + 1)
        return phi_2, phi_2 / h - 0.5
    term, phi_2, phi_3 = 1.0, 0.0, 0.0
    for k in range(2, 14):  # expm1(−h)/h + 1 = h/2! − h²/3! + …
        term = h / 2 if k == 2 else term * -h / k
        phi_2 += term
        phi_3 += term / h if k > 2 else 0.0
    return phi_2, phi_3
