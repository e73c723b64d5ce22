"""The capacity formula beside virtual time and beside two real workers."""

import asyncio
import random
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from jobs.settings import JobsSettings
from service.capacity import Kind, Speed, predict
from service.redis_server import redis_server
from tests.benchmarks.figures import quantile
from tests.benchmarks.policy import STEPS, Cost
from tests.bundles import tiny_bundle
from tests.faults.client import Client
from tests.faults.processes import Worker
from tests.scaling import simulation
from tests.scaling.device import Device
from tests.scaling.load import Order
from tests.scaling.simulation import Simulation
from tests.scaling.supervisor import Supervisor, by_work

SPEEDS = {
    "0.5 + 12.3 ms, 8 rows": Speed(0.0005, 0.0123, 8),
    "7.5 + 9.1 ms, 16 rows": Speed(0.0075, 0.0091, 16),
    "50 + 150 ms, 8 rows": Speed(0.05, 0.15, 8),
    "1 + 0.03 ms, 32 rows": Speed(0.001, 0.00003, 32),
}
KINDS = {"alike": [Kind(25, 2)], "mixed": [Kind(steps, 2) for steps in STEPS]}
BUSY = (0.3, 0.5, 0.7, 0.8, 0.9)
REAL = Speed(0.004, 0.0125, 8)
REAL_WORKERS, REAL_BUSY, REAL_JOBS = 2, 0.6, 120


def arrivals(
    speed: Speed, kinds: Sequence[Kind], busy: float, workers: int, jobs: int, seed: int
) -> tuple[float, list[Order]]:
    """Return jobs a second and Poisson arrivals that keep the workers so busy."""
    rate = busy * workers * speed.units_per_s / fmean(kind.units for kind in kinds)
    chooser, at, load = random.Random(seed), 0.0, []
    for _ in range(jobs):
        at += chooser.expovariate(rate)
        kind = chooser.choice(kinds)
        guidance = 3.0 if kind.passes == 2 else 1.0
        load.append(Order(at, kind.evaluations, guidance, kind.images))
    return rate, load


def simulated_p95_s(speed: Speed, load: Sequence[Order], workers: int) -> float:
    """Return the 95th percentile of latency in virtual time."""
    worker = simulation.Kind(Cost(speed.fixed_s, speed.row_s), speed.rows_per_tick)
    return quantile([s for _, s in Simulation(load, worker).fixed(workers).latency], 0.95)


def in_virtual_time(jobs: int = 3000, seeds: int = 3) -> dict[str, Any]:
    """Return predicted over simulated 95th percentiles, over all settings."""
    ratios = []
    for speed in SPEEDS.values():
        for kinds in KINDS.values():
            for workers in (1, 2, 4, 16):
                for busy in BUSY:
                    found = []
                    for seed in range(seeds):
                        rate, load = arrivals(speed, kinds, busy, workers, jobs, seed)
                        found.append(simulated_p95_s(speed, load, workers))
                    ratios.append(predict(speed, rate, kinds, workers).p95_s / fmean(found))
    return {
        "settings": len(ratios),
        "predicted_over_simulated": {
            f"{share:.0%}": round(quantile(ratios, share), 2) for share in (0, 0.05, 0.5, 0.95, 1)
        },
    }


async def _real(url: str, folder: Path) -> list[float]:
    settings = JobsSettings(redis_url=url)
    device = Device(folder / "tiny", Cost(REAL.fixed_s, REAL.row_s), REAL.rows_per_tick, 16)
    client = Client(settings)
    with ExitStack() as stack:

        def start(name: str) -> Worker:
            worker = device.worker(settings, name, folder / f"{name}.log")
            stack.callback(worker.end)
            return worker

        _, load = arrivals(REAL, KINDS["alike"], REAL_BUSY, REAL_WORKERS, REAL_JOBS, 1)
        runner = Supervisor(client, "tiny", start)
        await runner.introduce()
        outcome = await runner.run(load, REAL_WORKERS, by_work)
    await client.close()
    return [taken for _, taken in outcome.latency]


def with_real_workers() -> dict[str, Any]:
    """Return latencies as predicted, simulated and seen on real workers."""
    rate, load = arrivals(REAL, KINDS["alike"], REAL_BUSY, REAL_WORKERS, REAL_JOBS, 1)
    with TemporaryDirectory() as name, redis_server(Path(name) / "redis") as url:
        tiny_bundle(Path(name) / "tiny")
        seen = asyncio.run(_real(url, Path(name)))
    found = predict(REAL, rate, KINDS["alike"], REAL_WORKERS)
    return {
        "workers": REAL_WORKERS,
        "jobs_per_s": round(rate, 2),
        "busy": REAL_BUSY,
        "predicted": {"mean_s": round(found.mean_s, 2), "p95_s": round(found.p95_s, 2)},
        "simulated_p95_s": round(simulated_p95_s(REAL, load, REAL_WORKERS), 2),
        "real": {"mean_s": round(fmean(seen), 2), "p95_s": round(quantile(seen, 0.95), 2)},
    }


def measure() -> dict[str, Any]:
    """Return both comparisons."""
    return {"virtual": in_virtual_time(), "real": with_real_workers()}
