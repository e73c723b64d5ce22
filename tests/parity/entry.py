"""An entry of the parity table: a layout, who draws it in diffusers, and with which samplers."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Sampler:
    """A sampler and a schedule of ours, and diffusers' scheduler that does the same.

    The scheduler is made from the configuration of the model's own, with ``options``.
    """

    sampler: str
    schedule: str
    scheduler: Any
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """A layout. The model's own sampler is drawn besides ``samplers``, if ``own`` is true."""

    name: str
    write: Callable[[Path], Path]  # of tests/layouts
    pipeline: Any
    samplers: tuple[Sampler, ...] = ()
    steps: tuple[int, ...] = (4, 10)
    guidance_scale: float = 4.0
    guidance_rescale: float = 0.0
    prompt: str | None = "a red apple"  # None: the pipeline takes none
    call: Mapping[str, Any] = field(default_factory=dict)  # further arguments of the pipeline
    own: bool = True
    levels: Mapping[tuple[str, int], int] = field(default_factory=dict)
    """(sampler, steps) → of 255, where diffusers deviates from itself: say why beside it."""

    def bound(self, sampler: Sampler | None, steps: int) -> int:
        """Return how many of 255 levels a pixel may differ by."""
        return self.levels.get((sampler.sampler if sampler else "own", steps), 1)
