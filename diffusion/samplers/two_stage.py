"""Samplers that evaluate twice a step: Heun, DPM-Solver-2 and the single-step DPM-Solver++.

The last step, to level 0, is one evaluation: its denoised estimate is the image.
"""

import numpy as np

from diffusion.samplers.rows import Interval, Rows


def heun(rows: Rows) -> None:
    """Heun's second-order method (Karras et al. 2022, algorithm 1). S[1]: x + (t − s)/2·d."""
    for at in rows.intervals:
        if at.t == 0:
            rows.add(at, rows.d)
            continue
        slope = (rows.x - rows.d) / at.s
        length = at.t - at.s
        predicted, half = rows.x + length * slope, rows.x + length / 2 * slope
        rows.add(at, predicted, half, finished=at.index)
        slope = (rows.x - rows.d) / at.t
        rows.add(at, rows.s[1] + length / 2 * slope, sigma=at.t)


def heun_in_time(rows: Rows) -> None:
    """Heun's method for a flow, in its time t = σ/(1 + σ). S[1]: x_t + (t' − t)/2·d.

    dx_t/dt = (x_t − D)/t, so that a first step from noise alone, t = 1, has a slope as well.
    """
    for at in rows.every_interval:
        s, t = _time(at.s), _time(at.t)
        x = rows.x if s == 1 else (1 - s) * rows.x
        if t == 0:
            rows.add(at, rows.d)
            continue
        slope = (x - rows.d) / s
        predicted, half = x + (t - s) * slope, x + (t - s) / 2 * slope
        rows.add(at, predicted / (1 - t), half, finished=at.index)
        slope = ((1 - t) * rows.x - rows.d) / t
        rows.add(at, (rows.s[1] + (t - s) / 2 * slope) / (1 - t), sigma=at.t)


def _time(sigma: float) -> float:
    return 1.0 if np.isinf(sigma) else sigma / (1 + sigma)


def dpm2(rows: Rows) -> None:
    """DPM-Solver-2 with the geometric midpoint (Lu et al. 2022a; k-diffusion). S[1]: x.

    With η > 0 it steps to the lower level, then adds fresh noise (k-diffusion).
    """
    for at in rows.intervals:
        down, up = at.ancestral(rows.eta)
        if down == 0:
            rows.add(at, rows.d)
            continue
        middle = float(np.sqrt(at.s * down))
        slope = (rows.x - rows.d) / at.s
        rows.add(at, rows.x + (middle - at.s) * slope, rows.x, finished=at.index)
        slope = (rows.x - rows.d) / middle
        rows.add(at, rows.s[1] + (down - at.s) * slope + up * rows.noise, sigma=middle)


def dpmpp_2s_ancestral(rows: Rows) -> None:
    """DPM-Solver++(2S), ancestral (Lu et al. 2022b, algorithm 1; k-diffusion). S[1]: x."""
    for at in rows.intervals:
        down, up = at.ancestral(rows.eta)
        if down == 0:
            rows.add(at, rows.d)
            continue
        middle = float(np.sqrt(at.s * down))
        ratio = middle / at.s
        rows.add(at, ratio * rows.x + (1 - ratio) * rows.d, rows.x, finished=at.index)
        ratio = down / at.s
        state = ratio * rows.s[1] + (1 - ratio) * rows.d + up * rows.noise
        rows.add(at, state, sigma=middle)


def dpmpp_sde(rows: Rows) -> None:
    """DPM-Solver++ on the SDE, two evaluations a step (Lu et al. 2022b; k-diffusion, r = 1/2).

    A step's two noises are overlapping increments of one Brownian path: the first row leaves its
    share ρ = sqrt((s − mid)/(s − t)) in S[1], the second adds the independent rest.
    """
    for at in rows.intervals:
        if at.t == 0:
            rows.add(at, rows.d)
            continue
        middle = float(np.sqrt(at.s * at.t))
        half = Interval(at.index, at.s, middle, at.timestep)
        down, up = half.ancestral(rows.eta)
        ratio = down / at.s
        first = ratio * rows.x + (1 - ratio) * rows.d + up * rows.noise
        down, up = at.ancestral(rows.eta)
        ratio = down / at.s
        share = float(np.sqrt((at.s - middle) / (at.s - at.t)))
        memory = ratio * rows.x + share * up * rows.noise
        rows.add(at, first, memory, finished=at.index)
        rest = float(np.sqrt((middle - at.t) / (at.s - at.t)))
        state = rows.s[1] + (1 - ratio) * rows.d + rest * up * rows.noise
        rows.add(at, state, sigma=middle)
