"""Workers in virtual time under the shipped settings."""

import pytest

from tests.benchmarks.keda import KIND, figures
from tests.scaling.kubernetes.autoscaler import Autoscaler
from tests.scaling.kubernetes.scaled_object import shipped
from tests.scaling.load import Order, drawn
from tests.scaling.simulation import Measure, Simulation, by_list_length, by_work


def test_a_lone_image_takes_its_steps() -> None:
    ((_, taken),) = Simulation([Order(5.0, 25, 3.0, 1)], KIND).fixed(1).latency
    assert taken == pytest.approx(25 * KIND.cost.tick(2))


def test_a_full_worker_does_its_rows_a_second() -> None:
    load = [Order(0.0, 40, 3.0, 16)] * 5
    outcome = Simulation(load, KIND).fixed(1)
    last = max(taken for _, taken in outcome.latency)
    assert sum(order.units for order in load) / last == pytest.approx(KIND.units_per_s, rel=0.05)


@pytest.mark.parametrize(
    ("target", "measure"), [(shipped().trigger.target, by_work), (1.0, by_list_length)]
)
def test_a_load_is_served_whole_and_workers_leave(target: float, measure: Measure) -> None:
    load = drawn(11)
    outcome = Simulation(load, KIND).scaled(Autoscaler(shipped().with_target(target)), measure)
    assert len(outcome.latency) == len(load)
    assert outcome.replicas[-1][1] == 0


def test_the_shipped_trigger_reads_the_backlog_of_the_door() -> None:
    metadata = shipped().trigger.metadata
    assert metadata["valueLocation"] == "backlog_s"
    assert "/v1/scaling/" in metadata["url"]


def test_scaling_on_work_serves_more_in_time_with_less_than_one_worker_a_waiting_message() -> None:
    loads = [drawn(seed) for seed in range(10)]
    on_work = [Simulation(x, KIND).scaled(Autoscaler(shipped()), by_work) for x in loads]
    scaled = shipped().with_target(1.0)
    on_list = [Simulation(x, KIND).scaled(Autoscaler(scaled), by_list_length) for x in loads]
    work, length = figures(on_work), figures(on_list)
    assert work["attainment"] > length["attainment"]
    assert work["worker_s"] < length["worker_s"]
