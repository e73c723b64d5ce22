"""A worker's figures for Prometheus."""

from dataclasses import dataclass

import pytest
import torch
from prometheus_client import generate_latest
from torch import Tensor

from diffusion.backbones.backbone import Inputs
from diffusion.bundle.bundle import Bundle
from diffusion.errors import BundleError
from tests.workers.harness import Bench, image_request
from workers.engine.calibrate import Calibration, calibrate, measure, sizes
from workers.ops.metrics import Counters


def test_the_engine_is_read_when_it_is_asked_for(bundle: Bundle) -> None:
    bench = Bench(bundle)
    counters = Counters("tiny", bench.engine, 16)
    bench.draw(*(image_request(f"job{i}", steps=4) for i in range(3)))
    lines = generate_latest(counters.registry).decode().splitlines()
    figures = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    expected = {"evaluations_total": 12, "rows_total": 24, "slots": 16, "slots_used": 0}
    for name, value in expected.items():
        assert float(figures[f'sfumato_engine_{name}{{model="tiny"}}']) == value
    parts = [float(v) for k, v in figures.items() if k.startswith("sfumato_engine_tick_seconds")]
    assert len(parts) == 3
    assert all(part > 0 for part in parts)


def test_calibration_takes_a_batch_within_its_bound(bundle: Bundle) -> None:
    assert calibrate(bundle, 8).rows_per_tick in sizes(8)
    assert calibrate(bundle, 1).rows_per_tick == 2
    assert sizes(8) == [2, 3, 4, 6, 8]
    assert sizes(10) == [2, 3, 4, 6, 8, 10]
    assert sizes(1) == [2]


@dataclass
class Broken:
    """Predicts nothing, or no number."""

    error: Exception | None = None
    name = "broken"

    def inputs(self, _: object) -> Inputs:
        return {}

    def predict(self, sample: Tensor, _: Tensor, inputs: Inputs) -> Tensor:
        if self.error is not None:
            raise self.error
        return torch.full_like(sample, torch.nan)


def test_a_model_that_cannot_draw_is_found_out_before_it_takes_jobs(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    for error, message in ((None, "non-finite value"), (RuntimeError("no kernel"), "no kernel")):
        monkeypatch.setattr(bundle, "backbone", Broken(error))
        with pytest.raises(BundleError, match=f"the model cannot draw: .*{message}"):
            calibrate(bundle, 8)


def test_a_device_too_small_has_no_speed(bundle: Bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "backbone", Broken(MemoryError()))
    assert calibrate(bundle, 8) == measure(bundle, 2) == Calibration(2, 0.0)


def test_a_chosen_batch_size_has_its_speed_measured(bundle: Bundle) -> None:
    measured = measure(bundle, 5)
    assert measured.rows_per_tick == 5
    assert measured.rows_per_s > 0
