"""Every prediction of every process leads back to the image, and so do its limits."""

import numpy as np
import pytest

from diffusion.errors import ScheduleError
from diffusion.schedules.precondition import (
    PREDICTIONS,
    Array,
    PredictionType,
    Process,
    precondition,
)

SIGMAS = np.array([1e-3, 0.03, 0.7, 3.0, 14.6, 80.0, 4096.0])
RANDOM = np.random.default_rng(4)
IMAGE, NOISE = RANDOM.normal(size=(2, 100, 1)) * np.array([[[0.5]], [[1.0]]])
ALL = [(process, kind) for process, kinds in PREDICTIONS.items() for kind in kinds]


def output(process: Process, kind: PredictionType, sigma: Array) -> Array:
    """Return what a network that knows the image predicts, by the definitions of the papers."""
    if process == "edm":  # Karras et al. 2022, equation 8: F's target
        norm = np.hypot(sigma, 0.5)
        noisy = IMAGE + sigma * NOISE
        target: Array = (IMAGE - 0.25 / norm**2 * noisy) * norm / (sigma * 0.5)
        return target if kind == "epsilon" else -target
    alpha = 1 / np.sqrt(1 + sigma**2)
    velocity = alpha * NOISE - alpha * sigma * IMAGE  # Salimans and Ho 2022
    outputs: dict[PredictionType, Array] = {
        "epsilon": NOISE, "v_prediction": velocity, "sample": IMAGE,
        "flow_prediction": NOISE - IMAGE,
    }  # fmt: skip
    return outputs[kind]


@pytest.mark.parametrize(("process", "kind"), ALL)
def test_output_leads_back_to_the_image(process: Process, kind: PredictionType) -> None:
    seam = precondition(process, kind, SIGMAS)
    noisy = IMAGE + SIGMAS * NOISE
    denoised = seam.c_skip * noisy + seam.c_out * output(process, kind, SIGMAS)
    assert np.allclose(denoised, IMAGE, atol=1e-9)


@pytest.mark.parametrize(("process", "kind"), ALL)
def test_network_sees_the_scale_it_was_trained_at(process: Process, kind: PredictionType) -> None:
    seam = precondition(process, kind, SIGMAS)
    scale = {"vp": np.sqrt(1 + SIGMAS**2), "flow": 1 + SIGMAS, "edm": np.hypot(SIGMAS, 0.5)}
    assert np.allclose(seam.c_in * scale[process], 1)


@pytest.mark.parametrize(
    ("process", "kind"), [("vp", "v_prediction"), ("vp", "sample"), ("flow", "flow_prediction")]
)
def test_infinite_level_is_the_limit(process: Process, kind: PredictionType) -> None:
    """There the state is the noise: σ times as small as at a large finite level."""
    far, limit = (precondition(process, kind, np.array([s])) for s in (1e9, np.inf))
    assert np.allclose(far.c_in * 1e9, limit.c_in)
    assert np.allclose(far.c_skip * 1e9, limit.c_skip, atol=1e-8)
    assert np.allclose(far.c_out, limit.c_out)


@pytest.mark.parametrize(("process", "kind"), [("vp", "epsilon"), ("edm", "v_prediction")])
def test_infinite_level_without_a_limit_is_refused(process: Process, kind: PredictionType) -> None:
    with pytest.raises(ScheduleError, match="undefined at an infinite sigma"):
        precondition(process, kind, np.array([np.inf, 1.0]))


def test_prediction_that_a_process_has_not_is_refused() -> None:
    with pytest.raises(ScheduleError, match="a vp process predicts epsilon, v_prediction, sample"):
        precondition("vp", "flow_prediction", SIGMAS)
