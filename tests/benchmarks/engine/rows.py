"""What it brings that the rows of a tick know tenants: with and without, in virtual time."""

import random
from collections import deque
from typing import Any

from tests.benchmarks.engine.policy import Cost, Job
from tests.benchmarks.figures import quantile
from workers.engine.batcher import Batcher, Candidate

SLOTS = 16
SMALL_JOBS = 300
STEPS = 30


def _small(cost: Cost, rows_per_tick: int, seed: int) -> deque[Job]:
    chooser = random.Random(seed)
    busy = STEPS * cost.tick(rows_per_tick) / rows_per_tick
    clock, jobs = 0.0, deque[Job]()
    for _ in range(SMALL_JOBS):
        clock += chooser.expovariate(0.2 / busy)
        jobs.append(Job(clock, STEPS, 1))
    return jobs


def _run(rows: int, cost: Cost, seed: int, *, tenants: bool) -> list[float]:
    """Return the small tenant's latencies beside one that always fills every place."""
    batcher = Batcher(rows)
    coming, waiting = _small(cost, rows, seed), deque[Job]()
    slots: dict[object, tuple[Job | None, Candidate]] = {}
    clock, number, latencies, turn = 0.0, 0, list[float](), 0
    while len(latencies) < SMALL_JOBS:
        while coming and coming[0].arrived <= clock:
            waiting.append(coming.popleft())
        while len(slots) < SLOTS:  # the claims are fair: turn about while both wait
            turn += 1
            job = waiting.popleft() if waiting and turn % 2 else None
            candidate = Candidate(number, "shape", 1, batcher.clock, 1, STEPS)
            if tenants:
                candidate.tenant = "greedy" if job is None else "small"
            slots[number] = (job, candidate)
            number += 1
        chosen = batcher.choose([candidate for _, candidate in slots.values()])
        clock += cost.tick(len(chosen))
        batcher.served(chosen)
        for candidate in chosen:
            if candidate.remaining == 0:
                job, _ = slots.pop(candidate.key)
                if job is not None:
                    latencies.append(clock - job.arrived)
    return latencies


def compare_rows() -> dict[str, Any]:
    """Return the small tenant's latency with tenants in turn over that without, by rows a tick."""
    cost = Cost(2.0, 1.0)  # a device that gains a little from larger batches
    figures: dict[str, Any] = {}
    for rows in (2, 4, 8, 16):
        without = _run(rows, cost, 1, tenants=False)
        in_turn = _run(rows, cost, 1, tenants=True)
        alone = STEPS * cost.tick(1)
        figures[f"{rows}_rows_per_tick"] = {
            "mean_over_alone": round(sum(in_turn) / len(in_turn) / alone, 2),
            "mean_over_no_turns": round(sum(in_turn) / sum(without), 3),
            "p95_over_no_turns": round(quantile(in_turn, 0.95) / quantile(without, 0.95), 3),
        }
    return figures
