"""Samplers that evaluate twice a step: Heun, DPM-Solver-2 and the single-step DPM-Solver++."""

import numpy as np

from diffusion.samplers.rows import Interval, Rows, TimestepOf, intervals
from diffusion.schedule import Levels
from diffusion.table import SamplerTable


def _to_zero(rows: Rows, at: Interval) -> None:
    """Take the last step, to level 0: the denoised estimate is the picture."""
    rows.add(at.s, at.timestep, at.index + 1, [rows.d])


def heun(levels: Levels, timestep_of: TimestepOf, eta: float) -> SamplerTable:
    """Heun's second-order method (Karras et al. 2022, algorithm 1). S[1]: x + (t − s)/2·d."""
    rows = Rows(2)
    for at in intervals(levels):
        if at.t == 0:
            _to_zero(rows, at)
            continue
        slope = (rows.x - rows.d) / at.s
        length = at.t - at.s
        predicted, half = rows.x + length * slope, rows.x + length / 2 * slope
        rows.add(at.s, at.timestep, at.index, [predicted, half])
        slope = (rows.x - rows.d) / at.t
        end = timestep_of(at.t)
        rows.add(at.t, end, at.index + 1, [rows.s[1] + length / 2 * slope])
    return rows.table("heun", levels)


def _midpoint(name: str, levels: Levels, timestep_of: TimestepOf, eta: float) -> SamplerTable:
    rows = Rows(2)
    for at in intervals(levels):
        down, up = at.ancestral(eta)
        if down == 0:
            _to_zero(rows, at)
            continue
        middle = float(np.sqrt(at.s * down))
        slope = (rows.x - rows.d) / at.s
        rows.add(at.s, at.timestep, at.index, [rows.x + (middle - at.s) * slope, rows.x])
        slope = (rows.x - rows.d) / middle
        state = rows.s[1] + (down - at.s) * slope + up * rows.noise
        rows.add(middle, timestep_of(middle), at.index + 1, [state])
    return rows.table(name, levels)


def dpm2(levels: Levels, timestep_of: TimestepOf, eta: float) -> SamplerTable:
    """DPM-Solver-2 with the geometric midpoint (Lu et al. 2022a; k-diffusion). S[1]: x."""
    return _midpoint("dpm2", levels, timestep_of, 0.0)


def dpm2_ancestral(levels: Levels, timestep_of: TimestepOf, eta: float) -> SamplerTable:
    """DPM-Solver-2 to the lower level, then fresh noise (k-diffusion). S[1]: x."""
    return _midpoint("dpm2_ancestral", levels, timestep_of, eta)


def dpmpp_2s_ancestral(levels: Levels, timestep_of: TimestepOf, eta: float) -> SamplerTable:
    """DPM-Solver++(2S), ancestral (Lu et al. 2022b, algorithm 1; k-diffusion). S[1]: x."""
    rows = Rows(2)
    for at in intervals(levels):
        down, up = at.ancestral(eta)
        if down == 0:
            _to_zero(rows, at)
            continue
        middle = float(np.sqrt(at.s * down))
        ratio = middle / at.s
        rows.add(at.s, at.timestep, at.index, [ratio * rows.x + (1 - ratio) * rows.d, rows.x])
        ratio = down / at.s
        state = ratio * rows.s[1] + (1 - ratio) * rows.d + up * rows.noise
        rows.add(middle, timestep_of(middle), at.index + 1, [state])
    return rows.table("dpmpp_2s_ancestral", levels)


def dpmpp_sde(levels: Levels, timestep_of: TimestepOf, eta: float) -> SamplerTable:
    """DPM-Solver++ on the SDE, two evaluations a step (Lu et al. 2022b; k-diffusion, r = 1/2).

    A step's two noises are overlapping increments of one Brownian path: the first row leaves its
    share ρ = sqrt((s − mid)/(s − t)) in S[1], the second adds the independent rest.
    """
    rows = Rows(2)
    for at in intervals(levels):
        if at.t == 0:
            _to_zero(rows, at)
            continue
        middle = float(np.sqrt(at.s * at.t))
        half = Interval(at.index, at.s, middle, at.timestep)
        down, up = half.ancestral(eta)
        ratio = down / at.s
        first = ratio * rows.x + (1 - ratio) * rows.d + up * rows.noise
        down, up = at.ancestral(eta)
        ratio = down / at.s
        shared = float(np.sqrt((at.s - middle) / (at.s - at.t)))
        memory = ratio * rows.x + shared * up * rows.noise
        rows.add(at.s, at.timestep, at.index, [first, memory])
        rest = float(np.sqrt((middle - at.t) / (at.s - at.t)))
        state = rows.s[1] + (1 - ratio) * rows.d + rest * up * rows.noise
        rows.add(middle, timestep_of(middle), at.index + 1, [state])
    return rows.table("dpmpp_sde", levels)
