"""A network that fails as devices do: on CUDA's terms, without CUDA."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import sleep

import torch
from torch import Tensor

from diffusion.backbones.backbone import Backbone, Condition
from tests.backbones import Wrapped

ILLEGAL_ACCESS = (
    "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be "
    "asynchronously reported at some other API call, so the stacktrace below might be incorrect."
)
Fault = Callable[[int, Tensor], Tensor]
"""Takes a call's number, from 0, and its prediction; returns another, raises or hangs."""


class Faulty(Wrapped):
    """A network with a fault between it and the engine."""

    def __init__(self, inner: Backbone, fault: Fault) -> None:
        super().__init__(inner)
        self.fault = fault

    def spoil(self, prediction: Tensor, conditions: Sequence[Condition]) -> Tensor:
        """Return the prediction, unless the fault has it otherwise."""
        return self.fault(len(self.calls) - 1, prediction)


def illegal_access(after: int, *, plain: bool = False) -> Fault:
    """Return a fault that stays: every call from one on raises, as after an illegal access."""

    def fault(call: int, prediction: Tensor) -> Tensor:
        if call >= after:
            raise RuntimeError(ILLEGAL_ACCESS) if plain else torch.AcceleratorError(ILLEGAL_ACCESS)
        return prediction

    return fault


def out_of_memory(rows: int) -> Fault:
    """Return a device that holds so many rows and no more."""

    def fault(_call: int, prediction: Tensor) -> Tensor:
        if len(prediction) > rows:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return prediction

    return fault


def hang(after: int) -> Fault:
    """Return a device that never returns from a call."""

    def fault(call: int, prediction: Tensor) -> Tensor:
        if call >= after:
            threading.Event().wait()
        return prediction

    return fault


def non_finite(every: int) -> Fault:
    """Return a device that gives NaN in one row of every so-many-th call."""

    def fault(call: int, prediction: Tensor) -> Tensor:
        if call % every == every - 1:
            prediction = prediction.clone()
            prediction[call % len(prediction)] = torch.nan
        return prediction

    return fault


def slow(every: int, seconds: float) -> Fault:
    """Return a device whose every so-many-th call takes long."""

    def fault(call: int, prediction: Tensor) -> Tensor:
        if call % every == every - 1:
            sleep(seconds)
        return prediction

    return fault


def paced(fault: Fault, seconds: float, row_s: float = 0.0) -> Fault:
    """Return a device with a fault each of whose calls and rows takes so long besides."""

    def slower(call: int, prediction: Tensor) -> Tensor:
        sleep(seconds + row_s * len(prediction))
        return fault(call, prediction)

    return slower


def weak(call: int, prediction: Tensor) -> Tensor:
    """Be slow now and then, give NaN now and then, and hold no more than three rows."""
    for fault in (out_of_memory(3), non_finite(13), slow(11, 0.05)):
        prediction = fault(call, prediction)
    return prediction


def switched(fault: Fault, switch: Path) -> Fault:
    """Return a device that has the fault while a file exists."""

    def now(call: int, prediction: Tensor) -> Tensor:
        return fault(call, prediction) if switch.exists() else prediction

    return now


FAULTS: Mapping[str, Fault] = {
    "illegal_access": illegal_access(0), "hang": hang(0), "weak": weak, "slow": slow(1, 0.1),
}  # fmt: skip
"""Of workers in processes of their own, by name."""
