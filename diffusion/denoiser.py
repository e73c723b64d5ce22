"""From noisy latents to the denoised estimate: scaling, the network and guidance, per row.

Latents are in sigma space, x = x_t/a = x_0 + σ·ε for the process x_t = a·x_0 + s·ε.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from diffusion.backbones.backbone import Backbone, Condition
from diffusion.device import sent
from diffusion.errors import DenoiseError
from diffusion.model import Conditioning
from diffusion.samplers.table import SamplerTable


class Level(NamedTuple):
    """What a row's noise level means to the network: D = c_skip·x + c_out·F(c_in·x, c_noise)."""

    c_noise: float
    c_in: float
    c_skip: float
    c_out: float


def levels_of(table: SamplerTable) -> tuple[Level, ...]:
    """Return the level of each row of a table."""
    columns = (table.timesteps, table.c_in, table.c_skip, table.c_out)
    return tuple(Level(*values) for values in np.stack(columns, 1).tolist())


@dataclass(frozen=True)
class Guidance:
    """How a row is conditioned."""

    cond: Conditioning
    uncond: Conditioning
    size: tuple[int, int]  # (width, height) of the image, in pixels
    scale: float = 1.0  # 1: the unconditional pass is not run
    rescale: float = 0.0
    embedded: bool = False  # the network takes the scale as an input instead

    @property
    def passes(self) -> int:
        """The number of forward rows this row takes."""
        return 1 if self.scale == 1.0 or self.embedded else 2

    @cached_property
    def conditions(self) -> tuple[Condition, Condition]:
        """What its forward rows are conditioned on, the unconditional one last."""
        cond, uncond = (Condition(each, self.size, self.scale) for each in (self.cond, self.uncond))
        return cond, uncond


def denoise(
    backbone: Backbone,
    latents: Tensor,
    levels: Sequence[Level],
    guidance: Sequence[Guidance],
    *,
    pad_to: int | None = None,
    clip: float | None = None,
) -> Tensor:
    """Return D, the denoised estimate (B, C, h, w) float32, of each row at its level.

    Arguments and errors are those of :func:`prepare`.
    """
    inputs = prepare(latents, levels, guidance, pad_to=pad_to, clip=clip)
    return inputs.denoised(inputs.predict(backbone))


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """The inputs of one forward pass, and how its prediction becomes the denoised estimate.

    The first B of its N rows are conditional, and the first G of these are guided; the G
    unconditional ones follow in the same order, then padding.
    """

    sample: Tensor  # the network's input c_in·x, (N, C, h, w)
    timesteps: Tensor  # c_noise, (N,)
    conditions: Sequence[Condition]  # N
    latents: Tensor  # x, (N, C, h, w)
    c_skip: Tensor | None  # (N, 1, 1, 1); None: the network returns D itself
    c_out: Tensor  # (N, 1, 1, 1)
    rows: int  # B
    guided: int  # G
    scale: Tensor  # (G, 1, 1, 1)
    rescale: Tensor | None  # (G, 1, 1, 1); None: zero everywhere
    clip: float | None  # D is kept within ± this

    @cached_property
    def skipped(self) -> Tensor | None:
        """c_skip·x, (N, C, h, w): what of D does not wait for the network."""
        return None if self.c_skip is None else self.c_skip * self.latents

    def predict(self, backbone: Backbone) -> Tensor:
        """Return the network's output F (N, C, h, w)."""
        return backbone.predict(self.sample, self.timesteps, self.conditions)

    def denoised(self, prediction: Tensor) -> Tensor:
        """Return D, the denoised estimate (B, C, h, w) float32, of each row at its level.

        It may overwrite the prediction.
        """
        denoised = prediction
        if self.skipped is not None:
            denoised = torch.addcmul(self.skipped, self.c_out, prediction)
        if self.guided:
            self._guide(denoised[: self.guided], denoised[self.rows : self.rows + self.guided])
        denoised = denoised[: self.rows]
        return denoised if self.clip is None else _clipped(denoised, self.clip)

    def _guide(self, cond: Tensor, uncond: Tensor) -> None:
        """Classifier-free guidance (Ho and Salimans 2022), then rescale (Lin et al. 2023, 3.4).

        Guiding the estimate is the same as guiding the network's output, which is affine in it row
        by row. Rescaling acts on that output, D less its skipped part. The result overwrites the
        conditional estimate.
        """
        if self.rescale is None:
            torch.lerp(uncond, cond, self.scale, out=cond)
            return
        mixed = torch.lerp(uncond, cond, self.scale)
        skipped = torch.zeros_like(mixed) if self.skipped is None else self.skipped[: self.guided]
        output = mixed - skipped
        factor = (cond - skipped).std((1, 2, 3), keepdim=True) / output.std((1, 2, 3), keepdim=True)
        factor = self.rescale * factor + (1 - self.rescale)
        cond.copy_(torch.where(self.rescale > 0, skipped + factor * output, mixed))


def _clipped(denoised: Tensor, bound: float) -> Tensor:
    """Return an estimate within bounds; an infinite one, which is a fault, is NaN."""
    denoised = denoised.masked_fill(denoised.isinf(), torch.nan)
    return denoised.clamp_(-bound, bound)


def prepare(
    latents: Sequence[Tensor] | Tensor,
    levels: Sequence[Level],
    guidance: Sequence[Guidance],
    *,
    pad_to: int | None = None,
    clip: float | None = None,
) -> ForwardPass:
    """Return the inputs of one forward pass over B latents (C, h, w), each at its own level.

    A guided row takes a second forward row; guided rows come first. ``pad_to`` pads the pass to a
    fixed number of rows: a row's bits then depend neither on its neighbours nor on its place.
    ``clip`` bounds the denoised estimate, once it is guided.

    Raises:
        DenoiseError: more forward rows than ``pad_to``, or a guided row after an unguided one.
    """
    rows, guided = len(guidance), sum(g.passes == 2 for g in guidance)
    again = [*range(guided), *[0] * _padding(guidance, guided, pad_to)]  # rows taken once more
    x = torch.stack([*latents, *(latents[i] for i in again)])
    numbers = [(*level, g.scale, g.rescale) for level, g in zip(levels, guidance, strict=True)]
    numbers += [numbers[i] for i in again]
    on_device = sent(np.array(numbers, np.float32), x.device)
    c_noise, c_in, c_skip, c_out, scale, rescale = on_device[..., None, None, None].unbind(1)
    direct = all(level.c_skip == 0 and level.c_out == 1 for level in levels)
    conditions = [g.conditions[0] for g in guidance]
    conditions += [guidance[i].conditions[at < guided] for at, i in enumerate(again)]
    return ForwardPass(
        sample=x * c_in,
        timesteps=c_noise.flatten(),
        conditions=conditions,
        latents=x,
        c_skip=None if direct else c_skip,
        c_out=c_out,
        rows=rows,
        guided=guided,
        scale=scale[:guided],
        rescale=rescale[:guided] if any(g.rescale for g in guidance[:guided]) else None,
        clip=clip,
    )


def _padding(guidance: Sequence[Guidance], guided: int, pad_to: int | None) -> int:
    if any(g.passes == 2 for g in guidance[guided:]):
        raise DenoiseError("guided rows come first")
    needed = len(guidance) + guided
    if pad_to is not None and needed > pad_to:
        raise DenoiseError(f"{needed} forward rows do not fit a batch of {pad_to}")
    return 0 if pad_to is None else pad_to - needed
