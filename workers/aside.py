"""Work beside the device: what another thread does while a forward pass runs.

The engine asks for it before the pass and takes the result after it, so that the two never touch
one thing at the same time.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

import torch

T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")


class Errand(Protocol[T_co]):
    """A call that is under way, or will be made when its result is asked for."""

    def result(self) -> T_co:
        """Return what the call returned, waiting for it, or raise what it raised."""
        ...


class Aside(Protocol):
    """Who does errands, one after the other."""

    def submit(self, call: Callable[[], T], /) -> Errand[T]:
        """Take a call. Thread-safe."""
        ...

    def close(self) -> None:
        """Do what was asked for and take nothing more."""
        ...


class Beside:
    """A thread of its own: on the CPU a forward pass leaves the interpreter to others."""

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, "engine-aside")

    def submit(self, call: Callable[[], T], /) -> Errand[T]:
        """Begin the call as soon as those before it have ended."""
        return self._pool.submit(call)

    def close(self) -> None:
        """Wait for what was asked for and end the thread."""
        self._pool.shutdown()


class Later:
    """Whoever asks for the result: a device that computes by itself leaves its thread the time."""

    def submit(self, call: Callable[[], T], /) -> Errand[T]:
        """Keep the call for whoever asks first."""
        return _Kept(call)

    def close(self) -> None:
        """Do nothing: there is no thread."""


class _Kept(Generic[T]):
    def __init__(self, call: Callable[[], T]) -> None:
        self._call = call

    def result(self) -> T:
        return self._call()


def aside_for(device: torch.device) -> Aside:
    """Return who does errands beside this device: only one thread may touch an accelerator."""
    return Beside() if device.type == "cpu" else Later()
