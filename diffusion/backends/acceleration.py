"""How networks in torch are made faster than call by call: compiled, and recorded as graphs."""

import os
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from typing import Any

import torch
from torch import nn

from diffusion.backends.graphs import Graphed
from diffusion.errors import BundleError

INDUCTOR_CACHE = "TORCHINDUCTOR_CACHE_DIR"


@dataclass(frozen=True)
class Acceleration:
    """What is done to a network."""

    graphs: bool = True  # on CUDA: calls of equal shapes are recorded and replayed
    compiled: bool = False  # the blocks that it repeats; it needs a C compiler at run time
    cache: Path | None = None  # where compiled blocks are kept; None: where torch keeps them

    def records(self, device: torch.device) -> bool:
        """Whether calls on this device are recorded as graphs."""
        return self.graphs and device.type == "cuda"

    def compile(self, network: Any) -> bool:
        """Have the blocks that a network repeats compiled by their first calls, if that is wanted.

        Return whether it is. Shapes are dynamic: batches, images and prompts of other sizes are no
        reason to compile again.

        Raises:
            BundleError: there is no compiler.
        """
        if not self.compiled:
            return False
        if not any(map(which, compilers())):
            raise BundleError(
                f"compiling a network needs a C++ compiler: none of {', '.join(compilers())} "
                "is in PATH"
            )
        if self.cache is not None:
            os.environ.setdefault(INDUCTOR_CACHE, str(self.cache / "inductor"))
        for block in repeated_blocks(network):
            block.compile(dynamic=True)
        return True

    def recorded(self, network: Any, device: torch.device) -> Any:
        """Return a network whose calls are replayed, where they can be."""
        return Graphed(network) if self.records(device) else network


PLAIN = Acceleration(graphs=False)


def compilers() -> list[str]:
    """Return the commands of which torch calls one."""
    return [os.environ[name] for name in ("CXX", "CC") if os.environ.get(name)] or ["g++", "gcc"]


def repeated_blocks(network: nn.Module) -> list[nn.Module]:
    """Return the blocks that diffusers names as repeated, or else those in the network's lists."""
    named = getattr(network, "_repeated_blocks", None)
    if named:
        return [block for block in network.modules() if type(block).__name__ in named]
    lists = [child for child in network.children() if isinstance(child, nn.ModuleList)]
    return [block for each in lists for block in each]
