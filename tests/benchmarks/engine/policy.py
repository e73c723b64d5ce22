"""The batcher's order in virtual time: thousands of arrivals against one job at a time."""

import random
from collections import Counter, deque
from dataclasses import dataclass, field
from typing import Any

from tests.benchmarks.figures import quantile
from workers.engine.batcher import Batcher, Candidate

ARRIVALS = 4000
SLOTS = 16
BATCHES = (1, 2, 4, 8, 16)
STEPS = (4, 8, 15, 15, 20, 20, 25, 25, 30, 50, 100)
"""Steps as people ask for them: few for a distilled model, many for a last version."""


@dataclass
class Job:
    """An image to draw."""

    arrived: float
    rows: int
    passes: int
    first: float = 0.0
    ended: float = 0.0


@dataclass(frozen=True)
class Cost:
    """Seconds of a tick: ``fixed + row · rows``."""

    fixed: float
    row: float

    def tick(self, rows: int) -> float:
        """Return the seconds of a tick over so many forward rows."""
        return self.fixed + self.row * rows


@dataclass
class Outcome:
    """Latencies in virtual seconds."""

    latency: list[float] = field(default_factory=list)
    first: list[float] = field(default_factory=list)

    def add(self, job: Job) -> None:
        """Take a finished job in."""
        self.latency.append(job.ended - job.arrived)
        self.first.append(job.first - job.arrived)


def arrivals(cost: Cost, load: float, seed: int) -> list[Job]:
    """Return Poisson arrivals of mixed jobs at this share of what one-at-a-time can serve."""
    chooser = random.Random(seed)
    shapes = [(chooser.choice(STEPS), chooser.choice((1, 2, 2, 2))) for _ in range(ARRIVALS)]
    busy = sum(steps * cost.tick(passes) for steps, passes in shapes) / ARRIVALS
    clock, jobs = 0.0, []
    for steps, passes in shapes:
        clock += chooser.expovariate(load / busy)
        jobs.append(Job(clock, steps, passes))
    return jobs


def one_at_a_time(jobs: list[Job], cost: Cost) -> Outcome:
    """Serve in order of arrival, each job alone on the device."""
    clock, outcome = 0.0, Outcome()
    for job in jobs:
        clock = max(clock, job.arrived) + cost.tick(job.passes)
        job.first = clock
        clock += (job.rows - 1) * cost.tick(job.passes)
        job.ended = clock
        outcome.add(job)
    return outcome


def whole_batches(jobs: list[Job], cost: Cost, most: int) -> Outcome:
    """Serve as general servers batch: who waits, at most so many, until the last of them is done.

    Jobs of equal steps and guidance share passes. There are no previews: the first picture is the
    result.
    """
    coming, clock, outcome = deque(jobs), 0.0, Outcome()
    while coming:
        clock = max(clock, coming[0].arrived)
        batch = [coming.popleft()]
        while coming and coming[0].arrived <= clock and len(batch) < most:
            batch.append(coming.popleft())
        for (rows, passes), alike in Counter((job.rows, job.passes) for job in batch).items():
            clock += rows * cost.tick(passes * alike)
        for job in batch:
            job.first = job.ended = clock
            outcome.add(job)
    return outcome


def continuous(jobs: list[Job], cost: Cost, rows_per_tick: int, ageing: float) -> Outcome:
    """Serve with the engine's own batcher."""
    batcher = Batcher(rows_per_tick, ageing)
    coming, waiting = deque(jobs), deque[Job]()
    slots: dict[int, tuple[Job, Candidate]] = {}
    clock, outcome, number = 0.0, Outcome(), 0
    while coming or waiting or slots:
        if not slots and not waiting:
            clock = max(clock, coming[0].arrived)
        while coming and coming[0].arrived <= clock:
            waiting.append(coming.popleft())
        while waiting and len(slots) < SLOTS:
            job = waiting.popleft()
            candidate = Candidate(number, "shape", 1, batcher.clock, job.passes, job.rows)
            slots[number] = (job, candidate)
            number += 1
        chosen = batcher.choose([candidate for _, candidate in slots.values()])
        clock += cost.tick(sum(candidate.passes for candidate in chosen))
        fresh = [candidate for candidate in chosen if not candidate.started]
        batcher.served(chosen)
        for candidate in fresh:
            slots[candidate.key][0].first = clock  # type: ignore[index]
        for candidate in chosen:
            if candidate.remaining == 0:
                job, _ = slots.pop(candidate.key)  # type: ignore[call-overload]
                job.ended = clock
                outcome.add(job)
    return outcome


def compare(cost: Cost, rows_per_tick: int, *, load: float = 0.8, ageing: float = 0.25,
            seed: int = 1) -> dict[str, Any]:  # fmt: skip
    """Return the ratios of continuous batching to one job at a time, the same arrivals.

    And to whole batches, of the size that is best for their mean latency.
    """
    whole = min(
        (whole_batches(arrivals(cost, load, seed), cost, most) for most in BATCHES),
        key=lambda outcome: sum(outcome.latency),
    )
    alone = one_at_a_time(arrivals(cost, load, seed), cost)
    mixed = continuous(arrivals(cost, load, seed), cost, rows_per_tick, ageing)
    mean = sum(mixed.latency) / sum(alone.latency)
    return {
        "arrivals": ARRIVALS,
        "load": load,
        "rows_per_tick": rows_per_tick,
        "ageing": ageing,
        "mean": round(mean, 3),
        "p99": round(quantile(mixed.latency, 0.99) / quantile(alone.latency, 0.99), 3),
        "first_preview": round(sum(mixed.first) / sum(alone.first), 3),
        "mean_of_whole_batches": round(sum(mixed.latency) / sum(whole.latency), 3),
        "p99_of_whole_batches": round(
            quantile(mixed.latency, 0.99) / quantile(whole.latency, 0.99), 3
        ),
        "first_picture_of_whole_batches": round(sum(mixed.first) / sum(whole.first), 3),
    }
