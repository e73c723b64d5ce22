"""Which batch size is taken, of speeds that were measured."""

import pytest

from workers.engine.calibrate import best_of, tick_cost_s


def test_the_smallest_of_sizes_that_are_as_fast_is_taken() -> None:
    assert best_of({8: 500.0, 16: 599.0, 24: 600.0, 32: 599.5}).rows_per_tick == 16
    assert best_of({8: 500.0, 16: 598.0, 24: 600.0, 32: 599.5}).rows_per_tick == 24


@pytest.mark.parametrize("scale", [1.0, 1e-2, 1e-5])
def test_slow_devices_are_compared_as_fast_ones_are(scale: float) -> None:
    calibration = best_of({2: 9.0 * scale, 3: 9.99 * scale, 4: 10.0 * scale})
    assert (calibration.rows_per_tick, calibration.rows_per_s) == (3, 9.99 * scale)


def test_fixed_and_row_cost_follow_from_the_speeds() -> None:
    speeds = {rows: rows / (0.0075 + 0.0091 * rows) for rows in (2, 4, 8, 16)}
    assert list(tick_cost_s(speeds)) == pytest.approx([0.0075, 0.0091])
    assert list(tick_cost_s({8: 100.0})) == pytest.approx([0.0, 0.01])
