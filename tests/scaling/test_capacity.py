"""The capacity formula beside the engine's own batcher in virtual time."""

import math
import random
from statistics import fmean

import pytest
from typer.testing import CliRunner

from service.capacity import CannotBeMet, Kind, Speed, least, predict
from service.cli import app
from tests.benchmarks.figures import quantile
from tests.benchmarks.policy import Cost
from tests.scaling import simulation
from tests.scaling.load import Order
from tests.scaling.simulation import Simulation
from workers.calibrate import tick_cost_s

CPU = Speed(0.0005, 0.0123, 8)  # the shipped model on one thread
GPU = Speed(0.0075, 0.0091, 16)  # SD 1.5 at 512² on an A100, as published
ALIKE = [Kind(25, 2)]
MIXED = [Kind(steps, 2) for steps in (4, 8, 15, 15, 20, 20, 25, 25, 30, 50, 100)]


def simulated_p95_s(speed: Speed, kinds: list[Kind], jobs_per_s: float, workers: int) -> float:
    chooser, at, load = random.Random(1), 0.0, []
    for _ in range(3000):
        at += chooser.expovariate(jobs_per_s)
        kind = chooser.choice(kinds)
        load.append(Order(at, kind.evaluations, 3.0, kind.images))
    worker = simulation.Kind(Cost(speed.fixed_s, speed.row_s), speed.rows_per_tick)
    return quantile([s for _, s in Simulation(load, worker).fixed(workers).latency], 0.95)


@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("busy", [0.5, 0.8])
@pytest.mark.parametrize("kinds", [ALIKE, MIXED], ids=["alike", "mixed"])
@pytest.mark.parametrize("speed", [CPU, GPU], ids=["cpu", "gpu"])
def test_the_predicted_p95_is_near_the_simulated_one_and_rather_above(
    speed: Speed, kinds: list[Kind], busy: float, workers: int
) -> None:
    rate = busy * workers * speed.units_per_s / fmean(kind.units for kind in kinds)
    found = predict(speed, rate, kinds, workers)
    assert found.busy == pytest.approx(busy)
    assert 0.8 < found.p95_s / simulated_p95_s(speed, kinds, rate, workers) < 1.7


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
