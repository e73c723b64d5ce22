"""Targets and weights agree with the papers' definitions."""

import pytest
import torch

from diffusion.samplers.forward import add_noise
from diffusion.schedules.precondition import PredictionType
from model_export.training.loss import target, weighted_mse, weights

ALPHAS = torch.linspace(0.999, 0.005, 1000)
KINDS: tuple[PredictionType, ...] = ("sample", "epsilon", "v_prediction")


def x0_of(
    kind: PredictionType, prediction: torch.Tensor, x: torch.Tensor, t: torch.Tensor
) -> torch.Tensor:
    alpha = ALPHAS[t].reshape(-1, 1, 1, 1)
    if kind == "epsilon":
        return (x - (1 - alpha).sqrt() * prediction) / alpha.sqrt()
    if kind == "v_prediction":
        return alpha.sqrt() * x - (1 - alpha).sqrt() * prediction
    return prediction


@pytest.mark.parametrize("kind", KINDS)
def test_target_leads_back_to_the_image(kind: PredictionType) -> None:
    torch.manual_seed(0)
    x0, noise = torch.randn(2, 5, 3, 4, 4)
    t = torch.tensor([0, 100, 500, 900, 999])
    x = add_noise(x0, noise, t, ALPHAS)
    assert torch.allclose(x0_of(kind, target(kind, x0, noise, t, ALPHAS), x, t), x0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_min_snr_weighs_errors_in_the_image_alike(kind: PredictionType) -> None:
    torch.manual_seed(1)
    t = torch.tensor([5, 300, 700, 990])
    alpha = ALPHAS[t]
    snr = alpha / (1 - alpha)
    x0, noise = torch.randn(2, 4, 1, 8, 8)
    wanted = target(kind, x0, noise, t, ALPHAS)
    wrong = wanted + 0.01
    x = add_noise(x0, noise, t, ALPHAS)
    error = (x0_of(kind, wrong, x, t) - x0).square().mean((1, 2, 3))
    own = (wrong - wanted).square().mean((1, 2, 3))
    weighted = weights(kind, "min_snr", snr, 5.0) * own
    assert torch.allclose(weighted, snr.clamp(max=5.0) * error, rtol=2e-2)


def test_uniform_weights_are_one() -> None:
    assert torch.equal(weights("sample", "uniform", torch.tensor([0.1, 9.0]), 5.0), torch.ones(2))


def test_weights_are_scaled_to_mean_one() -> None:
    error = torch.tensor([1.0, 2.0]).reshape(2, 1, 1, 1)
    loss = weighted_mse(error, torch.zeros_like(error), torch.tensor([3.0, 1.0]))
    assert loss.item() == pytest.approx((3 * 1 + 1 * 4) / 4)
