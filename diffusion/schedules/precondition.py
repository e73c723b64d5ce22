"""From a network's output to the denoised estimate: D = c_skip·x + c_out·F(c_in·x, c_noise).

Karras et al. 2022, equation 7. Any output F = p·ε + q·x_0 of a linear process x_t = a·x_0 + s·ε
becomes D = (p·x − σ·F)/(p − q·σ), with x = x_t/a = x_0 + σ·ε and σ = s/a.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from diffusion.errors import ScheduleError

Array = NDArray[np.float64]
PredictionType = Literal["epsilon", "v_prediction", "sample", "flow_prediction"]
Process = Literal["vp", "flow", "edm"]
PREDICTIONS: dict[Process, tuple[PredictionType, ...]] = {
    "vp": ("epsilon", "v_prediction", "sample"),  # a² + s² = 1
    "flow": ("flow_prediction",),  # a + s = 1
    "edm": ("epsilon", "v_prediction"),  # a = 1; what diffusers calls its two preconditionings
}


@dataclass(frozen=True, eq=False)
class Preconditioning:
    """The coefficients at each of R levels; each is (R,) float64."""

    c_in: Array
    c_skip: Array
    c_out: Array


def precondition(
    process: Process, prediction: PredictionType, sigmas: Array, sigma_data: float = 0.5
) -> Preconditioning:
    """Return the coefficients at levels that may begin with infinity.

    At σ = ∞ the state is unit noise, which is the network's input as it is, and the coefficients
    are the limits for that state.

    Args:
        process: the forward process.
        prediction: what the network returns.
        sigmas: (R,), positive.
        sigma_data: the data's standard deviation, EDM's preconditioning only.

    Raises:
        ScheduleError: the process has no such prediction, or noise is predicted at σ = ∞, which
            says nothing of the image.
    """
    if prediction not in PREDICTIONS[process]:
        known = ", ".join(PREDICTIONS[process])
        raise ScheduleError(f"a {process} process predicts {known}, not {prediction!r}")
    infinite = np.isinf(sigmas)
    if infinite.any() and (prediction == "epsilon" or process == "edm"):
        raise ScheduleError(f"prediction_type {prediction!r} is undefined at an infinite sigma")
    finite = np.where(infinite, 1.0, sigmas)
    c_in, c_skip, c_out = _coefficients(process, prediction, finite, sigma_data)
    c_in = np.where(infinite, 1.0, c_in)
    c_skip = np.where(infinite, 1.0 if process == "flow" else 0.0, c_skip)
    c_out = np.where(infinite, 1.0 if prediction == "sample" else -1.0, c_out)
    return Preconditioning(c_in, c_skip, c_out)


def _coefficients(
    process: Process, prediction: PredictionType, sigma: Array, sigma_data: float
) -> tuple[Array, Array, Array]:
    one = np.ones_like(sigma)
    if process == "flow":
        return 1 / (1 + sigma), 1 / (1 + sigma), -sigma / (1 + sigma)
    if process == "edm":
        norm = np.hypot(sigma, sigma_data)
        sign = 1.0 if prediction == "epsilon" else -1.0
        return 1 / norm, (sigma_data / norm) ** 2, sign * sigma * sigma_data / norm
    norm = np.sqrt(1 + sigma**2)
    if prediction == "epsilon":
        return 1 / norm, one, -sigma
    if prediction == "v_prediction":
        return 1 / norm, 1 / norm**2, -sigma / norm
    return 1 / norm, 0 * one, one
