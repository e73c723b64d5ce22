"""The capacity formula beside the engine's own batcher in virtual time."""

import math

import pytest
from typer.testing import CliRunner

from service.capacity import CannotBeMet, Kind, Speed, least, predict
from service.cli import app
from tests.benchmarks.capacity import KINDS, SPEEDS, arrivals, simulated_p95_s
from workers.calibrate import tick_cost_s

CPU, GPU = SPEEDS["0.5 + 12.3 ms, 8 rows"], SPEEDS["7.5 + 9.1 ms, 16 rows"]
ALIKE, MIXED = KINDS["alike"], KINDS["mixed"]


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("busy", [0.5, 0.8])
@pytest.mark.parametrize("kinds", [ALIKE, MIXED], ids=["alike", "mixed"])
@pytest.mark.parametrize("speed", [CPU, GPU], ids=["cpu", "gpu"])
def test_the_predicted_p95_is_near_the_simulated_one_and_rather_above(
    speed: Speed, kinds: list[Kind], busy: float, workers: int
) -> None:
    rate, load = arrivals(speed, kinds, busy, workers, 3000, 1)
    found = predict(speed, rate, kinds, workers)
    assert found.busy == pytest.approx(busy)
    assert 0.8 < found.p95_s / simulated_p95_s(speed, load, workers) < 1.7


def test_the_least_number_meets_the_target_and_one_fewer_does_not() -> None:
    found = least(GPU, 20.0, MIXED, 4.0)
    assert found.p95_s <= 4.0
    assert predict(GPU, 20.0, MIXED, found.workers - 1).p95_s > 4.0
    assert found.busy < 0.95


def test_too_few_workers_never_catch_up() -> None:
    assert math.isinf(predict(CPU, 100.0, ALIKE, 1).p95_s)


def test_a_job_longer_than_the_target_is_refused() -> None:
    with pytest.raises(CannotBeMet, match="alone"):
        least(CPU, 0.1, [Kind(1000, 2)], 10.0)


def test_calibrated_speeds_give_back_what_a_pass_costs() -> None:
    speeds = {rows: rows / GPU.tick_s(rows) for rows in (2, 4, 8, 16)}
    assert list(tick_cost_s(speeds)) == pytest.approx([GPU.fixed_s, GPU.row_s])
    assert list(tick_cost_s({8: 100.0})) == pytest.approx([0.0, 0.01])


def test_the_command_says_how_many() -> None:
    words = "capacity --rate 2 --steps 25 --guidance 3 --p95 2 --tick-ms 0.5 --row-ms 12.3"
    told = CliRunner().invoke(app, [*words.split(), "--rows-per-tick", "8"])
    assert told.exit_code == 0, told.output
    assert "3 workers keep 95 of 100 jobs within 2 s" in told.output
    refused = CliRunner().invoke(app, [*words.replace("--p95 2", "--p95 0.1").split()])
    assert refused.exit_code == 1
