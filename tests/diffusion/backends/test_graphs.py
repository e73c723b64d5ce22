"""Calls that are recorded and replayed, with a recorder that stands in for CUDA's."""

import logging

import pytest
import torch
from torch import Tensor

from diffusion.backends.graphs import COUNTED, Graphed
from tests.diffusion.backends.recording import Recording


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
