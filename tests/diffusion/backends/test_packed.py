"""Packed convolutions give the numbers of those they stand for, or do not stand for them."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from diffusion.backends import packed
from diffusion.backends.packed import PackedConv2d, pack

CONVOLUTIONS = {
    "3x3": nn.Conv2d(5, 7, 3, padding=1),
    "1x1": nn.Conv2d(5, 7, 1),
    "halving": nn.Conv2d(5, 8, 3, stride=2, padding=1),
    "without bias": nn.Conv2d(5, 7, 3, padding=(1, 0), bias=False),
    "in groups": nn.Conv2d(6, 8, 3, padding=1, groups=2),
    "dilated": nn.Conv2d(5, 7, 3, padding=2, dilation=2),
}
LEFT_ALONE = {
    "half": nn.Conv2d(5, 7, 3, padding=1, dtype=torch.bfloat16),
    "named padding": nn.Conv2d(5, 7, 3, padding="same"),
    "mirrored": nn.Conv2d(5, 7, 3, padding=1, padding_mode="reflect"),
    "linear": nn.Linear(5, 7),
    "transposed": nn.ConvTranspose2d(5, 7, 3),
}


@pytest.mark.parametrize("conv", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@torch.inference_mode()
def test_a_packed_convolution_is_the_same(conv: nn.Conv2d) -> None:
    network = nn.ModuleDict({"inner": nn.Sequential(copy.deepcopy(conv))})
    pack(network, 8)
    found: Any = network["inner"]
    assert isinstance(found[0], PackedConv2d)
    for shape in ((1, 8, 8), (17, 8, 8), (3, 5, 12)):
        x = torch.randn(shape[0], conv.in_channels, *shape[1:])
        assert torch.allclose(found(x), conv(x), atol=1e-5)
    assert not list(network.parameters()), "the weights are kept twice"


@pytest.mark.parametrize("module", LEFT_ALONE.values(), ids=LEFT_ALONE)
def test_what_cannot_be_packed_is_left_alone(module: nn.Module) -> None:
    network = nn.Sequential(module)
    pack(network, 8)
    assert network[0] is module


@pytest.mark.parametrize("error", [AttributeError("no such operator"), RuntimeError("no oneDNN")])
def test_a_build_that_cannot_pack_runs_as_before(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def refuse(*_: object) -> None:
        raise error

    monkeypatch.setattr(packed, "PackedConv2d", refuse)
    network = nn.Sequential(nn.Conv2d(5, 7, 3))
    pack(network, 8)
    assert isinstance(network[0], nn.Conv2d)
    assert str(error) in caplog.text


def test_a_convolution_that_differs_packed_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed, "PackedConv2d", lambda conv, _: lambda x: conv(x) + 0.01)
    network = nn.Sequential(nn.Conv2d(5, 7, 3))
    pack(network, 8)
    assert isinstance(network[0], nn.Conv2d)
