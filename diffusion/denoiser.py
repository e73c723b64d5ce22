"""From noisy latents to the denoised estimate: scaling, guidance and prediction type, per row.

Latents are in sigma space, x = x_t / sqrt(ᾱ_t) = x_0 + σ·ε.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from diffusion.backends.backend import Backend
from diffusion.errors import DenoiseError
from diffusion.model import Conditioning
from diffusion.samplers.schedule import PredictionType

T = TypeVar("T")


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
        """The number of forward rows this row takes."""
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
    """Return D, the denoised estimate (B, C, h, w) float32, of each row at its level.

    Arguments and errors are those of :func:`prepare`.
    """
    inputs = prepare(latents, sigmas, timesteps, guidance, pad_to=pad_to)
    return inputs.denoised(prediction_type, inputs.predict(backend))


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """The inputs of one forward pass, and how its prediction becomes the denoised estimate.

    The first B of its N rows are conditional, and the first G of these are guided; the G
    unconditional ones follow in the same order, then padding.
    """

    sample: Tensor  # x_t at the training process' scale, (N, C, h, w)
    timesteps: Tensor  # (N,)
    embeddings: Tensor  # (N, L, D)
    added: dict[str, Tensor] | None
    x: Tensor  # the same rows in sigma space
    sigma: Tensor  # (N, 1, 1, 1)
    rows: int  # B
    guided: int  # G
    scale: Tensor  # (G, 1, 1, 1)
    rescale: Tensor | None  # (G, 1, 1, 1); None: zero everywhere

    def predict(self, backend: Backend) -> Tensor:
        """Return the network's prediction (N, C, h, w)."""
        return backend.predict(self.sample, self.timesteps, self.embeddings, self.added)

    def denoised(self, prediction_type: PredictionType, prediction: Tensor) -> Tensor:
        """Return D, the denoised estimate (B, C, h, w) float32, of each row at its level.

        It may overwrite the prediction.
        """
        denoised = _denoised(prediction_type, prediction, self.x, self.sigma)
        if self.guided:
            self._guide(denoised[: self.guided], denoised[self.rows : self.rows + self.guided])
        return denoised[: self.rows]

    def _guide(self, cond: Tensor, uncond: Tensor) -> None:
        """Classifier-free guidance (Ho and Salimans 2022), then rescale (Lin et al. 2023, 3.4).

        Guiding the estimate is the same as guiding the noise, which is affine in it row by row. The
        result overwrites the conditional estimate.
        """
        if self.rescale is None:
            torch.lerp(uncond, cond, self.scale, out=cond)
            return
        mixed = torch.lerp(uncond, cond, self.scale)
        level, noisy = self.sigma[: self.guided], self.x[: self.guided]
        noise_cond, noise_mixed = (noisy - cond) / level, (noisy - mixed) / level
        factor = noise_cond.std((1, 2, 3), keepdim=True) / noise_mixed.std((1, 2, 3), keepdim=True)
        factor = self.rescale * factor + (1 - self.rescale)
        cond.copy_(torch.where(self.rescale > 0, noisy - level * factor * noise_mixed, mixed))


def prepare(
    latents: Tensor,
    sigmas: Sequence[float],
    timesteps: Sequence[float],
    guidance: Sequence[Guidance],
    *,
    pad_to: int | None = None,
) -> ForwardPass:
    """Return the inputs of one forward pass over latents (B, C, h, w), each at its own level.

    A guided row takes a second forward row; guided rows come first. ``pad_to`` pads the pass to a
    fixed number of rows: a row's bits then depend neither on its neighbours nor on its place.

    Raises:
        DenoiseError: more forward rows than ``pad_to``, or a guided row after an unguided one.
    """
    rows, guided = len(guidance), sum(g.passes == 2 for g in guidance)
    padding = _padding(guidance, guided, pad_to)

    def spread(values: Sequence[T]) -> list[T]:
        """Return each forward row's value."""
        return [*values, *values[:guided], *[values[0]] * padding]

    numbers = np.array(
        [
            spread(sigmas),
            spread([(1 + sigma**2) ** -0.5 for sigma in sigmas]),  # sqrt(ᾱ)
            spread([g.scale for g in guidance]),
            spread([g.rescale for g in guidance]),
            spread(timesteps),
        ],
        np.float32,
    )
    columns = torch.from_numpy(numbers).to(latents.device, non_blocking=True)[..., None, None, None]
    sigma, scale, guidance_scale, rescale, times = columns.unbind()
    x = torch.cat([latents, latents[:guided], latents[:1].expand(padding, -1, -1, -1)])
    sides = spread([g.cond for g in guidance])
    sides[rows : rows + guided] = [g.uncond for g in guidance[:guided]]
    return ForwardPass(
        sample=x * scale,
        timesteps=times.view(-1),
        embeddings=torch.stack([side.embeddings for side in sides]),
        added=_added(sides, spread([g.size for g in guidance])),
        x=x,
        sigma=sigma,
        rows=rows,
        guided=guided,
        scale=guidance_scale[:guided],
        rescale=rescale[:guided] if any(g.rescale for g in guidance[:guided]) else None,
    )


def _padding(guidance: Sequence[Guidance], guided: int, pad_to: int | None) -> int:
    if any(g.passes == 2 for g in guidance[guided:]):
        raise DenoiseError("guided rows come first")
    needed = len(guidance) + guided
    if pad_to is not None and needed > pad_to:
        raise DenoiseError(f"{needed} forward rows do not fit a batch of {pad_to}")
    return 0 if pad_to is None else pad_to - needed


def _added(
    sides: Sequence[Conditioning], sizes: Sequence[tuple[int, int]]
) -> dict[str, Tensor] | None:
    pooled = [side.pooled for side in sides if side.pooled is not None]
    if not pooled:
        return None
    # SDXL: original size, crop corner and target size (Podell et al. 2023, section 2.2).
    ids = [[h, w, 0, 0, h, w] for w, h in sizes]
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
