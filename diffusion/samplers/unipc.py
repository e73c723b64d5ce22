"""UniPC: a predictor and a corrector of the same order from one evaluation (Zhao et al. 2023)."""

import math

import numpy as np
from numpy.typing import NDArray

from diffusion.samplers.rows import Interval, Rows

Array = NDArray[np.float64]
ORDER = 2


def unipc(rows: Rows) -> None:
    """UniPC of order 2 on the denoised estimate, B(h) = e^h − 1.

    The corrector is linear in the new estimate, so the rest of it is computed one row earlier and
    kept in S[1]; S[2] holds the last estimate.
    """
    steps = rows.intervals
    correction = 0.0  # what the new estimate adds to S[1]
    last: Interval | None = None
    for at in steps:
        sample = rows.x if last is None else rows.s[1] + correction * rows.d
        order = min(ORDER, len(steps) - at.index, at.index + 1)
        if at.t == 0:
            rows.add(at, rows.d)
            break
        base = at.q * sample + (1 - at.q) * rows.d
        slope = np.zeros_like(base)
        ratio = -1.0
        if order == 2 and last is not None:
            ratio = -last.h / at.h
            slope = (rows.s[2] - rows.d) / ratio
        b = _solution(at.h, ratio, order)
        # B(h) of the data prediction is expm1(−h): the predictor subtracts B(h)·Σ ρ·differences.
        predictor = base + (1 - at.q) * (0.5 * slope if order == 2 else 0)
        correction = (1 - at.q) * b[-1]
        partial = base - correction * rows.d
        if order == 2:
            partial = partial + (1 - at.q) * b[0] * slope
        rows.add(at, predictor, partial, rows.d)
        last = at


def _solution(h: float, ratio: float, order: int) -> Array:
    """Return the corrector's weights ρ over the differences (older first, the new one last)."""
    if order == 1:
        return np.array([0.5])
    hh = -h
    h_phi = np.expm1(hh) / hh - 1
    b = []
    for i in range(1, order + 1):
        b.append(h_phi * math.factorial(i) / np.expm1(hh))
        h_phi = h_phi / hh - 1 / math.factorial(i + 1)
    matrix = np.array([[1.0, 1.0], [ratio, 1.0]])
    return np.linalg.solve(matrix, np.array(b))
