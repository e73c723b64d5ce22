"""The seam between the sampler and a network: what it takes beside x and c_noise is its own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from diffusion.model import Conditioning


@dataclass(frozen=True, eq=False)
class Condition:
    """What one forward row is conditioned on; a network takes from it what it was trained with."""

    prompt: Conditioning
    size: tuple[int, int]  # (width, height) of the image, in pixels
    guidance_scale: float = 1.0  # for networks that take it as an input


Inputs = Mapping[str, Any]
"""Tensors on the device, or lists of them, by the names that a network gives them."""


class Backbone(Protocol):
    """A network of any architecture."""

    @property
    def name(self) -> str:
        """What runs it: part of a checkpoint's identity."""
        ...

    def inputs(self, conditions: Sequence[Condition]) -> Inputs:
        """Return what the network takes of each row's condition.

        Prompts may differ in length; a row's output must not depend on its neighbours' prompts.
        """
        ...

    def predict(self, sample: Tensor, c_noise: Tensor, inputs: Inputs) -> Tensor:
        """Return the network's output F (N, C, h, w) float32; the caller may overwrite it.

        All of it happens on the device, so that it can be recorded as a CUDA graph.

        Args:
            sample: the scaled latents c_in·x, (N, C, h, w) float32.
            c_noise: the rows' noise levels as the schedule gives them, (N,) float32.
            inputs: what :meth:`inputs` returned for their conditions.
        """
        ...


def predict(
    backbone: Backbone, sample: Tensor, c_noise: Tensor, conditions: Sequence[Condition]
) -> Tensor:
    """Return a network's output F (N, C, h, w) float32 for rows under these conditions."""
    return backbone.predict(sample, c_noise, backbone.inputs(conditions))
