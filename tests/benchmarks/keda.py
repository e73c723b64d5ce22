"""Scaling on remaining work beside scaling on the length of the queue's list.

KEDA's and the HPA's rules with the settings of the shipped ScaledObject, once in virtual time over
many loads and once over real workers on a real Redis under the recorded load. It is no cluster.
Everything is told in the load's own seconds; the real run is ``COMPRESSION`` times as fast.
"""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from jobs.settings import JobsSettings
from tests.benchmarks.engine.policy import Cost
from tests.benchmarks.figures import quantile
from tests.bundles import tiny_bundle
from tests.faults.client import Client
from tests.faults.processes import Worker
from tests.redis_server import redis_server
from tests.scaling import load as loads
from tests.scaling import simulation, supervisor
from tests.scaling.device import Device
from tests.scaling.kubernetes.autoscaler import Autoscaler
from tests.scaling.kubernetes.hpa import SYNC_S
from tests.scaling.kubernetes.scaled_object import ScaledObject, Trigger, compressed
from tests.scaling.kubernetes.shipped import shipped
from tests.scaling.load import Order
from tests.scaling.simulation import Kind, Outcome, Simulation

COMPRESSION = 12
SEEDS = 100
KIND = Kind(Cost(0.05, 0.15), rows_per_tick=8, slots=16, cold_start_s=60)
"""50 ms a forward pass and 150 ms a row: a 25-step guided picture takes 8.7 s alone."""
COLD_START_S = 3.0  # of a real worker before its process boots
LIST_LENGTHS = (1, 2, 5, 10)
"""Messages a replica in a Redis lists trigger; 5 is KEDA's default."""


def target_s(order: Order) -> float:
    """Return the latency target: a minute and a half and twice what the work takes one worker."""
    return 90 + 2 * order.units / KIND.units_per_s


def on_list_length(length: int) -> Trigger:
    """Return the usual trigger of a Celery queue."""
    return Trigger(type="redis", metadata={"listName": "queue", "listLength": str(length)})


def on_work(seconds: float) -> Trigger:
    """Return a trigger on the backlog with another target."""
    return Trigger(type="metrics-api", metadata={"targetValue": str(seconds)})


def figures(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return means over runs."""
    latencies = [[taken for _, taken in outcome.latency] for outcome in outcomes]
    return {
        "attainment": round(fmean(o.attainment(target_s) for o in outcomes), 4),
        "worker_s": round(fmean(o.worker_s for o in outcomes)),
        "p95_s": round(fmean(quantile(taken, 0.95) for taken in latencies), 1),
        "worst_s": round(fmean(max(taken) for taken in latencies), 1),
        "jobs_given_back": round(fmean(o.drained for o in outcomes), 2),
        "starts": round(fmean(o.starts for o in outcomes), 2),
    }


def in_virtual_time(scaled: ScaledObject, kind: Kind = KIND, seeds: int = SEEDS) -> dict[str, Any]:
    """Return figures by trigger, and what equal attainment costs by work and by list length."""
    drawn = [loads.drawn(seed) for seed in range(seeds)]

    def run(trigger: Trigger, measure: simulation.Measure) -> dict[str, float]:
        one = scaled.measuring(trigger)
        return figures([Simulation(x, kind).scaled(Autoscaler(one), measure) for x in drawn])

    by_work = {
        f"{seconds:g}": run(on_work(seconds), simulation.by_work)
        for seconds in sorted({15, 30, 45, 60, 90, 120, 180, 240, scaled.trigger.target})
    }
    by_list = {
        f"{n}": run(on_list_length(n), simulation.by_list_length) for n in LIST_LENGTHS
    }  # fmt: skip
    return {
        "slots": kind.slots,
        "loads": seeds,
        "shipped": by_work[f"{scaled.trigger.target:g}"],
        "by_work_target_s": by_work,
        "by_list_length": by_list,
        "work_for_the_same": {n: _cheapest(by_work, row) for n, row in by_list.items()},
    }


def _cheapest(by_work: dict[str, dict[str, float]], row: dict[str, float]) -> dict[str, Any] | None:
    """Return the cheapest target by work that attains no less, and its share of the cost."""
    enough = [
        (found["worker_s"], target, found)
        for target, found in by_work.items()
        if found["attainment"] >= row["attainment"]
    ]
    if not enough:
        return None
    worker_s, target, found = min(enough, key=lambda each: each[0])
    share = round(worker_s / row["worker_s"], 3)
    return {"target_s": target, "attainment": found["attainment"], "worker_s_share": share}


async def _real(url: str, folder: Path, scaled: ScaledObject, name: str) -> dict[str, Any]:
    settings = JobsSettings(redis_url=url, key_prefix=name)
    cost = Cost(KIND.cost.fixed / COMPRESSION, KIND.cost.row / COMPRESSION)
    device = Device(folder / "tiny", cost, KIND.rows_per_tick, KIND.slots, COLD_START_S)
    client = Client(settings)
    with ExitStack() as stack:

        def start(worker: str) -> Worker:
            one = device.worker(settings, worker, folder / f"{name}-{worker}.log")
            stack.callback(one.end)
            return one

        runner = supervisor.Supervisor(client, "tiny", start)
        await runner.introduce()
        load = loads.compressed(loads.recorded(), COMPRESSION)
        autoscaler = Autoscaler(compressed(scaled, COMPRESSION), sync_s=SYNC_S / COMPRESSION)
        work = scaled.trigger.type == "metrics-api"
        measure = supervisor.by_work if work else supervisor.by_list_length
        outcome = await runner.run(load, autoscaler, measure)
    await client.close()
    return figures([_stretched(outcome)]) | {
        "jobs": len(load),
        "lost": 0,  # the run fails where one is
        "killed": runner.killed,
        "steps_repeated_units": runner.repeated_units,
        "cold_start_s": round(COMPRESSION * fmean(runner.cold_starts_s), 1),
        "longest_drain_real_s": round(max(runner.drains_s), 2),
        "replicas": [(round(COMPRESSION * at), n) for at, n in outcome.replicas],
    }


def _stretched(outcome: Outcome) -> Outcome:
    """Return a compressed run in the load's own seconds."""
    latency = [
        (Order(o.at_s * COMPRESSION, o.steps, o.guidance, o.images), COMPRESSION * taken)
        for o, taken in outcome.latency
    ]
    return Outcome(latency, COMPRESSION * outcome.worker_s, outcome.drained, outcome.starts)


def with_real_workers(scaled: ScaledObject) -> dict[str, Any]:
    """Return figures of real workers under the recorded load, by trigger."""
    found: dict[str, Any] = {}
    with TemporaryDirectory() as name, redis_server(Path(name) / "redis") as url:
        tiny_bundle(Path(name) / "tiny")
        for label, trigger in (("by_work", scaled.trigger), ("by_list_length_1", on_list_length(1)),
                               ("by_list_length_5", on_list_length(5))):  # fmt: skip
            one = scaled.measuring(trigger)
            found[label] = asyncio.run(_real(url, Path(name), one, label))
            print(f"  {label}: {found[label]}", flush=True)
    return found


def measure() -> dict[str, Any]:
    """Return virtual time over many loads, and real workers with their twin in virtual time."""
    scaled = shipped()
    virtual = in_virtual_time(scaled)
    few_slots = in_virtual_time(scaled, Kind(KIND.cost, KIND.rows_per_tick, slots=4), 30)
    print(f"  virtual: {virtual}", flush=True)
    return {
        "target_backlog_s": scaled.trigger.target,
        "virtual": virtual,
        "virtual_4_slots": few_slots,
        "real": with_real_workers(scaled),
    }
