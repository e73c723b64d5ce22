"""Ticks as they are on an accelerator: pass and step launched as one, recorded as a graph."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from diffusion.backbones.backbone import Condition
from diffusion.backends.acceleration import Acceleration
from diffusion.backends.graphs import Graphed
from diffusion.bundle.bundle import Bundle, load_bundle
from tests.backbones import Wrapped
from tests.bundles import tiny_bundle
from tests.diffusion.backends.recording import Recording
from tests.layouts.unet_family import lcm_xl, sdxl
from tests.workers.harness import Bench, Pixels, image_request
from workers.engine import engine
from workers.engine.engine import EngineSettings
from workers.engine.forward import Overlap
from workers.engine.messages import Failed, ImageRequest

ACCELERATOR = torch.device("meta")  # any that is not the processor
SETTINGS = EngineSettings(slots=8, rows_per_tick=8, batch_sizes=(4, 8), preview_s=0.0)
REQUESTS = [
    replace(request, job_id=str(number), seed=number)
    for number, request in enumerate(
        (
            image_request(),
            image_request(sampler="euler_ancestral", schedule="karras"),
            image_request(sampler="ddim", guidance_scale=1.0, steps=4),
            image_request(sampler="heun", guidance_scale=5.0, guidance_rescale=0.7),
            image_request(sampler="ddpm", guidance_scale=1.0, guidance_rescale=0.7),
        )
    )
]


@pytest.fixture
def accelerated(monkeypatch: pytest.MonkeyPatch) -> Recording:
    """Have engines take the processor for an accelerator whose calls are recorded."""
    record = Recording()
    monkeypatch.setattr(engine, "Overlap", lambda _: Overlap(ACCELERATOR))
    monkeypatch.setattr(Acceleration, "records", lambda self, _: self.graphs)
    monkeypatch.setattr("diffusion.backends.acceleration.Graphed", lambda n: Graphed(n, record))
    return record


def drawn(bundle: Bundle, requests: list[ImageRequest] = REQUESTS) -> dict[str, Pixels]:
    width, height = bundle.info.width, bundle.info.height
    sized = [replace(request, width=width, height=height) for request in requests]
    found = Bench(bundle, SETTINGS).draw(*sized)
    return {job: pixels for (job, _), pixels in found.items()}


def assert_alike(found: dict[str, Pixels], wanted: dict[str, Pixels]) -> None:
    assert found.keys() == wanted.keys()
    for job, pixels in found.items():
        assert np.abs(pixels.astype(int) - wanted[job]).max() <= 1, job


@pytest.mark.parametrize("make", [tiny_bundle, sdxl, lcm_xl])
def test_images_are_those_of_the_processor(
    tmp_path: Path, make: Callable[[Path], Path], request: pytest.FixtureRequest
) -> None:
    folder = make(tmp_path / "m")
    wanted = drawn(load_bundle(folder))
    record = request.getfixturevalue("accelerated")
    assert_alike(drawn(load_bundle(folder)), wanted)
    assert not record.graphs
    bundle = load_bundle(folder, acceleration=Acceleration())
    assert bundle.few_sizes
    assert_alike(drawn(bundle), wanted)
    assert record.graphs


def test_graphs_are_few_whatever_is_guided(tmp_path: Path, accelerated: Recording) -> None:
    bundle = load_bundle(tiny_bundle(tmp_path / "m"), acceleration=Acceleration())
    batches = [[2.0] * 4, [2.0] * 3, [2.0, 2.0, 1.0], [2.0, 1.0, 1.0], [3.0, 1.0, 1.0, 1.0]]
    for scales in (*batches, *batches):  # 5 to 8 rows each, padded to 8
        bench = Bench(bundle, SETTINGS)
        for number, scale in enumerate(scales):
            bench.engine.submit(image_request(str(number), guidance_scale=scale, steps=3))
        assert bench.engine.tick()
        assert bench.engine.tick()
    assert len(accelerated.graphs) == 1


def test_an_image_that_is_not_finite_fails_alone(tmp_path: Path, accelerated: Recording) -> None:
    class Spoiled(Wrapped):
        def spoil(self, prediction: Tensor, conditions: Sequence[Condition]) -> Tensor:
            prediction[[each.guidance_scale == 1.0 for each in conditions]] = torch.nan
            return prediction

    bundle = load_bundle(tiny_bundle(tmp_path / "m"))
    bundle.backbone = Spoiled(bundle.backbone)
    bench = Bench(bundle, SETTINGS)
    found = bench.draw(
        image_request("a", steps=2), image_request("b", steps=2),
        image_request("c", steps=2, guidance_scale=1.0),
    )  # fmt: skip
    assert {failed.job_id for failed in bench.of(Failed)} == {"c"}
    assert {job for job, _ in found} == {"a", "b"}
    assert not accelerated.graphs
