"""The training loss: what the network predicts, and the weight of each noise level."""

import torch
from torch import Tensor

from diffusion.samplers.forward import velocity
from diffusion.schedules.precondition import PredictionType
from model_export.training.settings import Weighting


def target(
    kind: PredictionType, x0: Tensor, noise: Tensor, timesteps: Tensor, alphas_cumprod: Tensor
) -> Tensor:
    """Return what the network should predict, in the shape of ``x0``."""
    if kind == "sample":
        return x0
    if kind == "epsilon":
        return noise
    return velocity(x0, noise, timesteps, alphas_cumprod)


def weights(kind: PredictionType, weighting: Weighting, snr: Tensor, gamma: float) -> Tensor:
    """Return each row's weight, (B,), for signal-to-noise ratios ᾱ/(1 − ᾱ) (B,).

    ``min_snr`` weights the error in x_0 by min(SNR, γ), whatever is predicted (Hang et al. 2023,
    section 3.4); ``uniform`` weights the prediction's error by 1.
    """
    if weighting == "uniform":
        return torch.ones_like(snr)
    clamped = snr.clamp(max=gamma)
    if kind == "sample":
        return clamped
    return clamped / (snr if kind == "epsilon" else snr + 1)


def weighted_mse(prediction: Tensor, wanted: Tensor, weight: Tensor) -> Tensor:
    """Return the weighted mean squared error, with weights scaled to mean 1."""
    errors = (prediction - wanted).square().flatten(1).mean(1)
    return (weight * errors).mean() / weight.mean()
