"""KEDA's and the HPA's rules over real workers on a real Redis."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.settings import JobsSettings
from tests.benchmarks.engine.policy import Cost
from tests.bundles import tiny_bundle
from tests.conftest import Opened
from tests.faults.client import Client
from tests.faults.processes import Worker
from tests.scaling.device import Device
from tests.scaling.kubernetes.autoscaler import Autoscaler
from tests.scaling.kubernetes.scaled_object import compressed
from tests.scaling.kubernetes.test_hpa import worker
from tests.scaling.load import Order
from tests.scaling.supervisor import Start, Supervisor, by_work

pytestmark = [pytest.mark.slow, pytest.mark.full, pytest.mark.timeout(180)]


@pytest.fixture
def start(jobs_settings: JobsSettings, tmp_path: Path) -> Iterator[Start]:
    device = Device(tiny_bundle(tmp_path / "tiny"), Cost(0.004, 0.0125), rows_per_tick=8, slots=16)
    started: list[Worker] = []

    def begin(name: str) -> Worker:
        started.append(device.worker(jobs_settings, name, tmp_path / f"{name}.log"))
        return started[-1]

    yield begin
    for one in started:
        one.end()
        print(one.log.read_text()[-2000:])


@pytest.fixture
async def client(jobs_settings: JobsSettings, opened: Opened[Client]) -> Client:
    return opened(Client(jobs_settings))


async def test_workers_come_with_work_and_are_drained_without_losing_a_job(
    client: Client, start: Start
) -> None:
    """Sixty seconds to one: wake, grow to three, give jobs back on the way down, sleep."""
    scaled = compressed(worker(**{"maxReplicaCount: 4": "maxReplicaCount: 3"}), 60)
    supervisor = Supervisor(client, "tiny", start)
    await supervisor.introduce()
    load = [Order(0.1 * i, 40, 3.0, 1) for i in range(10)]
    outcome = await supervisor.run(load, Autoscaler(scaled, sync_s=0.25), by_work)
    wanted = [replicas for _, replicas in outcome.replicas]
    assert max(wanted) == 3
    assert wanted[-1] == 0
    assert len(outcome.latency) == len(load), "every job ended well"
    assert supervisor.killed == 0
    assert supervisor.repeated_units == 0, "a job given back went on where it was"
