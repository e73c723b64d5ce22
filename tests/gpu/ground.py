"""Where the device check runs: a device, models of one size, a folder, a time to end by."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any

import torch

Figures = dict[str, Any]


@dataclass(frozen=True)
class Ground:
    """What every part is given."""

    device: torch.device
    tiny: bool  # models that a processor draws in a second
    folder: Path
    ends_at: float  # of monotonic(): no part begins after this

    @property
    def left_s(self) -> float:
        """Seconds until the end."""
        return self.ends_at - monotonic()

    @property
    def dtype(self) -> torch.dtype:
        """What weights are stored in."""
        return torch.float32 if self.device.type == "cpu" else torch.bfloat16

    @property
    def cuda(self) -> bool:
        """Whether the device is one of NVIDIA's."""
        return self.device.type == "cuda"

    def synchronize(self) -> None:
        """Wait for the device."""
        if self.cuda:
            torch.cuda.synchronize(self.device)

    def seconds(self, call: Callable[[], object], *, at_least_s: float, warm: int = 1) -> float:
        """Return the mean seconds of a call over at least so long, after ``warm`` ones."""
        for _ in range(warm):
            call()
        self.synchronize()
        calls, started = 0, perf_counter()
        while perf_counter() - started < at_least_s:
            call()
            calls += 1
            self.synchronize()
        return (perf_counter() - started) / calls


@dataclass(frozen=True)
class Part:
    """One part of the check; later ones are given what earlier ones found."""

    name: str
    run: Callable[[Ground, Mapping[str, Figures]], Figures]
    needs_s: float  # about what it takes on the device: it does not begin with less left


class NotRun(Exception):
    """This part cannot run here; the message says why."""
