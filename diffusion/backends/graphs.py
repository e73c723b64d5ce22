"""A network's calls as CUDA graphs: all kernels of a call are launched as one.

A graph replays what was recorded over the same memory, so that a call copies its inputs there and
its output away. It holds for one set of shapes.
"""

import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

log = logging.getLogger(__name__)
MOST = 48
"""Graphs of one network that are kept. They share the memory of what is computed in between."""
COUNTED = 1024  # shapes that came once and are remembered
TOLERANCE = 0.02
"""The largest difference of a replay from a call, over the largest value: halves round apart."""


class Graph(Protocol):
    """A recorded call."""

    def replay(self, inputs: Any) -> Any:
        """Return the output for inputs of the recorded shapes; no later replay overwrites it."""
        ...


Record = Callable[[Callable[..., Any], Any], Graph]
"""(network, (args, kwargs)) → the graph of this call."""


class Graphed:
    """A network whose calls are recorded by the shapes of their inputs, and replayed.

    The first call of any shapes runs as it is, for many come once; the second is recorded. What
    cannot be recorded, or gives something else when it is replayed, runs as it is.
    """

    def __init__(self, network: Any, record: Record | None = None, most: int = MOST) -> None:
        """Take a network on a CUDA device; ``record`` stands in for CUDA in tests."""
        self._network = network
        self._record = record or Recorder()
        self._most = most
        self._graphs: OrderedDict[str, Graph | None] = OrderedDict()  # None: cannot be recorded
        self._once: OrderedDict[str, None] = OrderedDict()

    def __getattr__(self, name: str) -> Any:
        """Return the network's own attribute."""
        return getattr(self._network, name)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Return what the network returns; its tensors are the caller's."""
        inputs = (args, kwargs)
        key = repr(mapped(inputs, lambda tensor: (tuple(tensor.shape), tensor.dtype)))
        try:
            if key not in self._graphs:
                if self._comes_first(key):
                    return self._network(*args, **kwargs)
                self._graphs[key] = self._recorded(inputs)
                if len(self._graphs) > self._most:
                    self._graphs.popitem(last=False)
            self._graphs.move_to_end(key)
            graph = self._graphs[key]
            return self._network(*args, **kwargs) if graph is None else graph.replay(inputs)
        except torch.OutOfMemoryError:
            self._graphs.clear()  # for the memory that they hold
            raise

    def _comes_first(self, key: str) -> bool:
        if self._once.pop(key, self) is None:
            return False
        self._once[key] = None
        if len(self._once) > COUNTED:
            self._once.popitem(last=False)
        return True

    def _recorded(self, inputs: Any) -> Graph | None:
        args, kwargs = inputs
        wanted = self._network(*args, **kwargs)
        try:
            graph = self._record(self._network, inputs)
            found = graph.replay(inputs)
        except torch.OutOfMemoryError:
            log.warning("no memory for a CUDA graph; these shapes run without one")
            return None
        except Exception as error:  # a recording that fails costs speed only
            log.warning("the network cannot be recorded as a CUDA graph: %s", error)
            return None
        if not _are_close(found, wanted):
            log.warning("a CUDA graph of the network gives other results; it runs without one")
            return None
        return graph


class Recorder:
    """Records calls on the current device; all graphs share one pool of memory."""

    def __init__(self) -> None:
        self._pool: Any = None

    def __call__(self, network: Callable[..., Any], inputs: Any) -> Graph:
        """Return the graph of a call."""
        if self._pool is None:
            self._pool = torch.cuda.graph_pool_handle()
        return CudaGraph(network, inputs, self._pool)


class CudaGraph:
    """A call recorded as a CUDA graph."""

    def __init__(self, network: Callable[..., Any], inputs: Any, pool: Any) -> None:
        self._inputs = mapped(inputs, Tensor.clone)
        args, kwargs = self._inputs
        current, side = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(current)
        with torch.cuda.stream(side):
            network(*args, **kwargs)  # libraries set themselves up outside of the recording
        current.wait_stream(side)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, pool=pool):
            self._output = network(*args, **kwargs)

    def replay(self, inputs: Any) -> Any:
        """Return the output for inputs of the recorded shapes."""
        for held, given in zip(tensors(self._inputs), tensors(inputs), strict=True):
            held.copy_(given, non_blocking=True)
        self._graph.replay()
        return mapped(self._output, Tensor.clone)


def mapped(value: Any, change: Callable[[Tensor], Any]) -> Any:
    """Return a structure of tuples, lists and mappings with each tensor in it changed."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, Mapping):
        return {key: mapped(each, change) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(mapped(each, change) for each in value)
    return value


def tensors(value: Any) -> list[Tensor]:
    """Return the tensors in a structure, in its order."""
    found: list[Tensor] = []
    mapped(value, found.append)
    return found


def _are_close(found: Any, wanted: Any) -> bool:
    return all(
        bool((a.float() - b.float()).abs().max() <= TOLERANCE * b.float().abs().max())
        for a, b in zip(tensors(found), tensors(wanted), strict=True)
    )
