"""The seam between the sampler and a network: what it takes beside x and c_noise is its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from diffusion.model import Conditioning


@dataclass(frozen=True, eq=False)
class Condition:
    """What one forward row is conditioned on; a network takes from it what it was trained with."""

    prompt: Conditioning
    size: tuple[int, int]  # (width, height) of the image, in pixels
    guidance_scale: float = 1.0  # for networks that take it as an input


class Backbone(Protocol):
    """A network of any architecture."""

    @property
    def name(self) -> str:
        """What runs it: part of a checkpoint's identity."""
        ...

    def predict(self, sample: Tensor, c_noise: Tensor, conditions: Sequence[Condition]) -> Tensor:
        """Return the network's output F (N, C, h, w) float32; the caller may overwrite it.

        Args:
            sample: the scaled latents c_in·x, (N, C, h, w) float32.
            c_noise: the rows' noise levels as the schedule gives them, (N,) float32.
            conditions: one of each row. Prompts may differ in length; a row's output must not
                depend on its neighbours' prompts.
        """
        ...
