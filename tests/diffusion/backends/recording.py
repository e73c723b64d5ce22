"""A recorder of calls that stands in for CUDA's."""

from collections.abc import Callable
from typing import Any

from torch import Tensor

from diffusion.backends.graphs import mapped, tensors


class StillGraph:
    """Computes over memory of its own, as a CUDA graph does, and gives out a copy."""

    def __init__(self, network: Callable[..., Any], inputs: Any, off: float = 0.0) -> None:
        self._network = network
        self._inputs = mapped(inputs, Tensor.clone)
        self._off = off
        self.replays = 0

    def replay(self, inputs: Any) -> Any:
        """Return the output for inputs of the same shapes."""
        for held, given in zip(tensors(self._inputs), tensors(inputs), strict=True):
            held.copy_(given)
        self.replays += 1
        args, kwargs = self._inputs
        return mapped(self._network(*args, **kwargs), lambda output: output + self._off)


class Recording:
    """Records, and remembers what."""

    def __init__(self, off: float = 0.0, error: Exception | None = None) -> None:
        self.graphs: list[StillGraph] = []
        self._off = off
        self._error = error

    def __call__(self, network: Callable[..., Any], inputs: Any) -> StillGraph:
        """Return a graph."""
        if self._error is not None:
            raise self._error
        self.graphs.append(StillGraph(network, inputs, self._off))
        return self.graphs[-1]
