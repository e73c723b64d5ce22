"""Which batch size is taken, of speeds that were measured."""

from collections.abc import Sequence
from copy import copy
from time import sleep

import pytest
from torch import Tensor

from diffusion.backbones.backbone import Condition
from diffusion.bundle.bundle import Bundle
from tests.backbones import Wrapped
from workers.engine import calibrate
from workers.engine.calibrate import best_of, sizes, speeds_by_rows, tick_cost_s


def test_the_smallest_of_sizes_that_are_as_fast_is_taken() -> None:
    assert best_of({8: 5.0, 16: 5.99, 24: 6.0, 32: 5.995}).rows_per_tick == 16
    assert best_of({8: 5.0, 16: 5.98, 24: 6.0, 32: 5.995}).rows_per_tick == 24


def test_fast_ticks_are_taken_larger_since_each_costs_more_in_service() -> None:
    speeds = {8: 500.0, 16: 599.0, 24: 600.0, 32: 599.5}
    assert best_of(speeds).rows_per_tick == 32
    assert best_of(speeds | {40: 590.0}).rows_per_tick == 32


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-5])
def test_slow_devices_are_compared_as_fast_ones_are(scale: float) -> None:
    calibration = best_of({2: 9.0 * scale, 3: 9.995 * scale, 4: 10.0 * scale})
    assert (calibration.rows_per_tick, calibration.rows_per_s) == (3, 9.995 * scale)


def test_fixed_and_row_cost_follow_from_the_speeds() -> None:
    speeds = {rows: rows / (0.0075 + 0.0091 * rows) for rows in (2, 4, 8, 16)}
    assert list(tick_cost_s(speeds)) == pytest.approx([0.0075, 0.0091])
    assert list(tick_cost_s({8: 100.0})) == pytest.approx([0.0, 0.01])


class Slow(Wrapped):
    """Takes so many seconds a row."""

    row_s = 0.0

    def spoil(self, prediction: Tensor, conditions: Sequence[Condition]) -> Tensor:
        """Wait."""
        sleep(self.row_s * len(prediction))
        return prediction


@pytest.mark.parametrize("row_s", [0.02, 0.1, 0.5])
def test_a_slow_device_is_calibrated_in_a_bounded_time(
    bundle: Bundle, monkeypatch: pytest.MonkeyPatch, row_s: float
) -> None:
    """All ten sizes would take 441 rows: 9, 44 or 220 s."""
    monkeypatch.setattr(calibrate, "FIRST_S", 0.5)
    monkeypatch.setattr(calibrate, "BUDGET_S", 0.1)
    network = Slow(bundle.backbone)
    network.row_s = row_s
    slow = copy(bundle)
    slow.backbone = network
    speeds = speeds_by_rows(slow, sizes(40))
    assert sum(network.calls) * row_s < 2.5
    assert len(speeds) < len(sizes(40))
    assert 0 < speeds[2] < 1.05 / row_s
