"""From noisy latents to the denoised estimate: scaling, guidance and prediction type, row by row.

Latents are in sigma space, x = x_t / sqrt(ᾱ_t) = x_0 + σ·ε.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from diffusion.backend import Backend
from diffusion.errors import DenoiseError
from diffusion.model import Conditioning
from diffusion.schedule import PredictionType


@dataclass(frozen=True)
class Guidance:
    """How a row is conditioned."""

    cond: Conditioning
    uncond: Conditioning
    size: tuple[int, int]  # (width, height) in pixels, SDXL's micro-conditioning
    scale: float = 1.0  # 1: the unconditional pass is not run
    rescale: float = 0.0

    @property
    def passes(self) -> int:
        """Forward rows this row costs."""
        return 1 if self.scale == 1.0 else 2


def denoise(
    backend: Backend,
    prediction_type: PredictionType,
    latents: Tensor,
    sigmas: Sequence[float],
    timesteps: Sequence[float],
    guidance: Sequence[Guidance],
    *,
    pad_to: int | None = None,
) -> Tensor:
    """Return D, the denoised estimate (B, C, h, w) float32, of each row's own level.

    Arguments and errors are those of :func:`prepare`.
    """
    inputs = prepare(latents, sigmas, timesteps, guidance, pad_to=pad_to)
    return inputs.denoised(prediction_type, inputs.predict(backend))


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """What one forward pass takes, and how its prediction becomes the denoised estimate."""

    sample: Tensor  # x_t at the training process' scale, (N, C, h, w)
    timesteps: Tensor  # (N,)
    embeddings: Tensor  # (N, L, D)
    added: dict[str, Tensor] | None
    x: Tensor  # the same rows in sigma space
    sigma: Tensor  # (N, 1, 1, 1)
    guided: Sequence[int]  # which of the first B rows have their unconditional pass behind them
    guidance: Sequence[Guidance]  # (B,)

    def predict(self, backend: Backend) -> Tensor:
        """Return the network's prediction (N, C, h, w)."""
        return backend.predict(self.sample, self.timesteps, self.embeddings, self.added)

    def denoised(self, prediction_type: PredictionType, prediction: Tensor) -> Tensor:
        """Return D, the denoised estimate (B, C, h, w) float32, of each row's own level."""
        rows, used = len(self.guidance), len(self.guidance) + len(self.guided)
        denoised = _denoised(prediction_type, prediction, self.x, self.sigma)
        result = denoised[:rows]
        if self.guided:
            uncond = denoised[rows:used]
            result = _guide(result, uncond, self.x, self.sigma, self.guided, self.guidance)
        return result


def prepare(
    latents: Tensor,
    sigmas: Sequence[float],
    timesteps: Sequence[float],
    guidance: Sequence[Guidance],
    *,
    pad_to: int | None = None,
) -> ForwardPass:
    """Return what one forward pass over latents (B, C, h, w) takes, each at its own level.

    It takes B rows and one more for each guided row. ``pad_to`` pads it to a fixed number of rows:
    a row's bits then depend on neither its neighbours nor its place.

    Raises:
        DenoiseError: more forward rows than ``pad_to``.
    """
    device = latents.device
    guided = [i for i, g in enumerate(guidance) if g.passes == 2]
    rows = [*range(len(guidance)), *guided]
    if pad_to is not None:
        if len(rows) > pad_to:
            raise DenoiseError(f"{len(rows)} forward rows do not fit a batch of {pad_to}")
        rows += [0] * (pad_to - len(rows))
    used = len(guidance) + len(guided)
    sides = [
        guidance[i].cond if n < len(guidance) or n >= used else guidance[i].uncond
        for n, i in enumerate(rows)
    ]
    numbers = torch.tensor(
        [
            [sigmas[i] for i in rows],
            [(1 + sigmas[i] ** 2) ** -0.5 for i in rows],  # sqrt(ᾱ)
            [timesteps[i] for i in rows],
        ],
        dtype=torch.float32,
    ).to(device, non_blocking=True)
    sigma, scale = numbers[:2, :, None, None, None]
    index = torch.tensor(rows).to(device, non_blocking=True)
    x = latents.index_select(0, index)
    return ForwardPass(
        sample=x * scale,
        timesteps=numbers[2],
        embeddings=torch.stack([side.embeddings for side in sides]),
        added=_added(sides, guidance, rows),
        x=x,
        sigma=sigma,
        guided=guided,
        guidance=guidance,
    )


def _added(
    sides: Sequence[Conditioning], guidance: Sequence[Guidance], rows: Sequence[int]
) -> dict[str, Tensor] | None:
    pooled = [side.pooled for side in sides if side.pooled is not None]
    if not pooled:
        return None
    # SDXL: original size, crop corner and target size (Podell et al. 2023, section 2.2).
    ids = [[h, w, 0, 0, h, w] for w, h in (guidance[i].size for i in rows)]
    text_embeds = torch.stack(pooled)
    return {
        "text_embeds": text_embeds,
        "time_ids": torch.tensor(ids, dtype=torch.float32).to(text_embeds.device),
    }


def _denoised(kind: PredictionType, prediction: Tensor, x: Tensor, sigma: Tensor) -> Tensor:
    if kind == "epsilon":
        return x - sigma * prediction
    if kind == "v_prediction":
        # x_0 = sqrt(ᾱ)·x_t − sqrt(1 − ᾱ)·v, with ᾱ = 1/(1 + σ²) and x_t = sqrt(ᾱ)·x.
        return x / (1 + sigma**2) - prediction * sigma / (1 + sigma**2).sqrt()
    return prediction


def _guide(
    cond: Tensor,
    uncond: Tensor,
    x: Tensor,
    sigma: Tensor,
    guided: Sequence[int],
    guidance: Sequence[Guidance],
) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022), then rescale (Lin et al. 2023, sec. 3.4).

    Guiding the estimate is guiding the noise: they differ by a row's constant.
    """
    index = torch.tensor(guided).to(cond.device, non_blocking=True)
    scale = _column([guidance[i].scale for i in guided], cond)
    positive = cond.index_select(0, index)
    mixed = torch.lerp(uncond, positive, scale)
    rescale = [guidance[i].rescale for i in guided]
    if any(rescale):
        level, noisy = sigma[index], x[index]
        noise_cond, noise_mixed = (noisy - positive) / level, (noisy - mixed) / level
        factor = noise_cond.std((1, 2, 3), keepdim=True) / noise_mixed.std((1, 2, 3), keepdim=True)
        share = _column(rescale, cond)
        factor = share * factor + (1 - share)
        mixed = torch.where(share > 0, noisy - level * factor * noise_mixed, mixed)
    return cond.index_copy(0, index, mixed)


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return torch.tensor(values, dtype=like.dtype).to(like.device).reshape(-1, 1, 1, 1)
