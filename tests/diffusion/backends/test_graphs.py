"""Calls that are recorded and replayed, with a recorder that stands in for CUDA's."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from diffusion.backends.acceleration import Acceleration
from diffusion.backends.graphs import COUNTED, Graphed, mapped, tensors
from diffusion.bundle.bundle import load_bundle
from model_export.evaluation.sampling import SamplingSettings, draw
from tests.bundles import tiny_bundle
from tests.layouts.unet_family import sdxl

CUDA = torch.device("cuda")


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


def double(x: Tensor, *, more: dict[str, Tensor] | None = None) -> tuple[Tensor]:
    """Return 2·x, and what there is more of it."""
    return (2 * x + sum((more or {}).values()),)


def test_a_shape_is_recorded_when_it_comes_again() -> None:
    record = Recording()
    network = Graphed(double, record)
    for number in range(1, 5):
        (found,) = network(torch.full((2, 3), float(number)))
        assert found.tolist() == torch.full((2, 3), 2.0 * number).tolist()
        assert len(record.graphs) == (number > 1)
    assert record.graphs[0].replays == 4  # the first of them is compared with a call
    network(torch.ones(3, 3))
    network(torch.ones(2, 3).double())
    assert len(record.graphs) == 1


def test_tensors_in_structures_are_inputs_too() -> None:
    record = Recording()
    network = Graphed(double, record)
    for number in range(4):
        more = {"a": torch.full((2,), float(number)), "b": torch.ones(2)}
        (found,) = network(torch.ones(2), more=more)
        assert found.tolist() == [3.0 + number] * 2
    for _ in range(2):
        assert network(torch.ones(2), more=None)[0].tolist() == [2.0, 2.0]
    assert len(record.graphs) == 2


def test_what_is_kept_is_bounded() -> None:
    record = Recording()
    network = Graphed(double, record, most=2)
    for side in (1, 1, 2, 2, 1, 3, 3):
        network(torch.ones(side))
    assert len(record.graphs) == 3
    network(torch.ones(1))  # the one used longest ago is 2's
    assert len(record.graphs) == 3
    network(torch.ones(2))
    network(torch.ones(2))
    assert len(record.graphs) == 4
    for side in range(10, 10 + 2 * COUNTED):
        network(torch.ones(side))
    assert len(vars(network)["_once"]) == COUNTED


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (Recording(off=1.0), "gives other results"),
        (Recording(error=RuntimeError("not permitted when stream is capturing")), "capturing"),
        (Recording(error=torch.OutOfMemoryError("CUDA out of memory")), "no memory"),
    ],
)
def test_what_cannot_be_recorded_runs_as_it_is(
    record: Recording, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    network = Graphed(double, record)
    with caplog.at_level(logging.WARNING):
        for _ in range(4):
            assert network(torch.ones(2))[0].tolist() == [2.0, 2.0]
    assert caplog.text.count(said) == 1


def test_graphs_go_when_memory_runs_out() -> None:
    record = Recording()
    full = False

    def network(x: Tensor) -> Tensor:
        if full:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return x

    graphed = Graphed(network, record)
    for _ in range(2):
        graphed(torch.ones(1))
    full = True
    with pytest.raises(torch.OutOfMemoryError):
        graphed(torch.ones(2))
    full = False
    for _ in range(2):
        graphed(torch.ones(1))
    assert len(record.graphs) == 2


def test_other_attributes_are_the_network_s() -> None:
    network = torch.nn.Linear(2, 2)
    assert Graphed(network, Recording()).weight is network.weight


@pytest.mark.parametrize("make", [tiny_bundle, sdxl])
def test_images_are_those_without_graphs(
    tmp_path: Path, make: Callable[[Path], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make(tmp_path / "m")
    settings = SamplingSettings(steps=3, guidance_scale=2.0)
    wanted = list(draw(load_bundle(folder), ["a", "b"], [1, 2], settings))
    record = Recording()
    monkeypatch.setattr(Acceleration, "records", lambda self, device: self.graphs)
    monkeypatch.setattr("diffusion.backends.acceleration.Graphed", lambda n: Graphed(n, record))
    bundle = load_bundle(folder, acceleration=Acceleration())
    assert bundle.few_sizes
    found = list(draw(bundle, ["a", "b"], [1, 2], settings))
    assert all(abs(a.astype(int) - b).max() <= 1 for a, b in zip(found, wanted, strict=True))
    assert record.graphs
