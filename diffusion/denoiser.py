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

from diffusion.backbones.backbone import Backbone, Condition, Inputs, predict
from diffusion.device import sent
from diffusion.errors import DenoiseError
from diffusion.model import Conditioning
from diffusion.samplers.step import coefficients, linear_part, step
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


@dataclass(frozen=True)
class Form:
    """What a forward pass does beyond calling the network."""

    guided: bool  # a row is; rows that are not have scale 1
    rescaled: bool  # a row's guidance is; others have 0
    direct: bool  # the network returns D itself
    clip: float | None  # D is kept within ± this


@dataclass(frozen=True, eq=False)
class ForwardPass:
    """The inputs of one forward pass, and how its prediction becomes the denoised estimate.

    The first B of its N rows are conditional, and the first G of these are guided; the G
    unconditional ones follow in the same order, then padding.
    """

    latents: Tensor  # x, (N, C, h, w)
    numbers: Tensor  # (N, 7): level, guidance scale, rescale, place of the unconditional row
    conditions: Sequence[Condition]  # N
    rows: int  # B
    guided: int | None  # G; None: the numbers say which rows are
    form: Form

    @cached_property
    def _columns(self) -> tuple[Tensor, ...]:
        return self.numbers[..., None, None, None].unbind(1)

    @property
    def sample(self) -> Tensor:
        """The network's input c_in·x, (N, C, h, w)."""
        return self.latents * self._columns[1]

    @property
    def timesteps(self) -> Tensor:
        """The network's c_noise, (N,)."""
        return self.numbers[:, 0]

    @cached_property
    def skipped(self) -> Tensor | None:
        """c_skip·x, (N, C, h, w): what of D does not wait for the network."""
        return None if self.form.direct else self._columns[2] * self.latents

    def predict(self, backbone: Backbone) -> Tensor:
        """Return the network's output F (N, C, h, w)."""
        return predict(backbone, self.sample, self.timesteps, self.conditions)

    def denoised(self, prediction: Tensor) -> Tensor:
        """Return D, the denoised estimate (B, C, h, w) float32, of each row at its level.

        It may overwrite the prediction.
        """
        every = prediction
        if self.skipped is not None:
            every = torch.addcmul(self.skipped, self._columns[3], prediction)
        denoised = every[: self.rows]
        if self.form.guided and self.guided is None:
            self._guide(denoised, every.index_select(0, self.numbers[: self.rows, 6].long()))
        elif self.guided:
            self._guide(denoised[: self.guided], every[self.rows : self.rows + self.guided])
        return denoised if self.form.clip is None else _clipped(denoised, self.form.clip)

    def _guide(self, cond: Tensor, uncond: Tensor) -> None:
        """Classifier-free guidance (Ho and Salimans 2022), then rescale (Lin et al. 2023, 3.4).

        Guiding the estimate is the same as guiding the network's output, which is affine in it row
        by row. Rescaling acts on that output, D less its skipped part. The result overwrites the
        conditional estimate.
        """
        scale, rescale = (column[: len(cond)] for column in self._columns[4:6])
        if not self.form.rescaled:
            torch.lerp(uncond, cond, scale, out=cond)
            return
        mixed = torch.lerp(uncond, cond, scale)
        skipped = torch.zeros_like(mixed) if self.skipped is None else self.skipped[: len(cond)]
        output = mixed - skipped
        factor = (cond - skipped).std((1, 2, 3), keepdim=True) / output.std((1, 2, 3), keepdim=True)
        factor = rescale * factor + (1 - rescale)
        cond.copy_(torch.where(rescale > 0, skipped + factor * output, mixed))


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
    numbers = np.zeros((rows + len(again), 7), np.float32)
    numbers[:rows, :4] = np.reshape(levels, (rows, 4))  # one of each row
    numbers[rows:] = numbers[again]
    numbers[:, 4] = 1.0
    numbers[:guided, 4:6] = [(g.scale, g.rescale) for g in guidance[:guided]] or 0.0
    numbers[:, 6] = np.arange(len(numbers))
    numbers[:guided, 6] += rows
    conditions = [g.conditions[0] for g in guidance]
    conditions += [guidance[i].conditions[at < guided] for at, i in enumerate(again)]
    form = Form(
        guided=guided > 0,
        rescaled=any(g.rescale for g in guidance[:guided]),
        direct=all(level.c_skip == 0 and level.c_out == 1 for level in levels),
        clip=clip,
    )
    return ForwardPass(x, sent(numbers, x.device), conditions, rows, guided, form)


def _padding(guidance: Sequence[Guidance], guided: int, pad_to: int | None) -> int:
    if any(g.passes == 2 for g in guidance[guided:]):
        raise DenoiseError("guided rows come first")
    needed = len(guidance) + guided
    if pad_to is not None and needed > pad_to:
        raise DenoiseError(f"{needed} forward rows do not fit a batch of {pad_to}")
    return 0 if pad_to is None else pad_to - needed


def advance(
    backbone: Backbone,
    latents: Tensor,
    numbers: Tensor,
    inputs: Inputs,
    state: Tensor,
    packed: Tensor,
    form: Form,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return D (N, C, h, w), the states after the rows without noise, and whether D is finite (N,).

    All of it happens on the device: it is one CUDA graph for each number of forward rows N,
    whatever their guidance. Padding and unconditional rows are computed like the others.

    Args:
        backbone: the network.
        latents: as of :class:`ForwardPass`, like ``numbers`` and ``form``.
        numbers: likewise.
        inputs: what its ``inputs`` returned for the conditions.
        state: S, (N, K, C, h, w).
        packed: the rows of the sampler's table, (N, K·K + 2·K).
        form: what the pass does.
    """
    given = ForwardPass(latents, numbers, (), len(latents), None, form)
    denoised = given.denoised(backbone.predict(given.sample, given.timesteps, inputs))
    mix, weight, noise_weight = coefficients(packed, state.shape[1])
    after = step(linear_part(state, None, mix, noise_weight), denoised, weight)
    return denoised, after, torch.isfinite(denoised).flatten(1).all(1)
