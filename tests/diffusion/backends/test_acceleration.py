"""Blocks that are compiled, and what is needed for it."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from diffusion.backends.acceleration import INDUCTOR_CACHE, Acceleration, repeated_blocks
from diffusion.bundle.bundle import load_bundle
from diffusion.errors import BundleError
from model_export.evaluation.sampling import SamplingSettings, draw
from tests.layouts.unet_family import sd15
from workers.engine.calibrate import speeds_by_rows


class Lists(torch.nn.Module):
    """A network with its blocks in a list, as Stable Diffusion 3 has them."""

    def __init__(self) -> None:
        super().__init__()
        self.first = torch.nn.Linear(2, 2)
        self.blocks = torch.nn.ModuleList(torch.nn.Linear(2, 2) for _ in range(3))


def test_blocks_are_those_that_are_named_or_in_lists() -> None:
    network = Lists()
    assert repeated_blocks(network) == list(network.blocks)
    vars(network)["_repeated_blocks"] = ["Linear"]
    assert len(repeated_blocks(network)) == 4


def test_without_a_compiler_a_model_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = sd15(tmp_path / "sd15")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("CXX", "a-compiler")
    with pytest.raises(BundleError, match=r"needs a C\+\+ compiler: none of a-compiler is in PATH"):
        load_bundle(folder, acceleration=Acceleration(compiled=True))


def test_what_is_compiled_is_kept_in_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compiled: list[dict[str, Any]] = []
    monkeypatch.setattr("diffusion.backends.acceleration.which", lambda _: "cc")
    monkeypatch.setattr(torch.nn.Module, "compile", lambda _, **kwargs: compiled.append(kwargs))
    monkeypatch.delenv(INDUCTOR_CACHE, raising=False)
    assert Acceleration(compiled=True, cache=tmp_path).compile(Lists())
    assert compiled == [{"dynamic": True}] * 3
    assert os.environ[INDUCTOR_CACHE] == str(tmp_path / "inductor")
    monkeypatch.setenv(INDUCTOR_CACHE, "/elsewhere")
    Acceleration(compiled=True, cache=tmp_path).compile(Lists())
    assert os.environ[INDUCTOR_CACHE] == "/elsewhere"
    assert not Acceleration().compile(Lists())


@pytest.mark.full
@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore:.*script_method.*:DeprecationWarning")  # of the compiler's
@pytest.mark.skipif(shutil.which("g++") is None, reason="g++ is not installed")
def test_a_compiled_network_draws_what_a_plain_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(INDUCTOR_CACHE, str(tmp_path / "inductor"))
    monkeypatch.setattr("torch._inductor.config.compile_threads", 1)  # leaves no processes
    folder = sd15(tmp_path / "sd15")
    settings = SamplingSettings(steps=4, guidance_scale=3.0)
    wanted = list(draw(load_bundle(folder), ["a", "b c"], [1, 2], settings))
    bundle = load_bundle(folder, acceleration=Acceleration(compiled=True))
    assert speeds_by_rows(bundle, [2, 3]).keys() == {2, 3}
    before = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert before
    found = list(draw(bundle, ["a", "b c"], [1, 2], settings))
    assert all(abs(a.astype(int) - b).max() <= 1 for a, b in zip(found, wanted, strict=True))
    after = torch._dynamo.utils.counters["stats"]["unique_graphs"]
    assert after == before, "another batch size was compiled while drawing"
    assert any((tmp_path / "inductor").iterdir())
