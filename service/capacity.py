"""How many workers an arrival rate takes, from what a forward pass costs.

A forward pass over r rows takes ``fixed + row · r``. With R rows a pass one worker does
μ = R / (fixed + row · R) units a second; n workers are busy for ρ = demand / (n · μ) of the time.

*A job's own time* is its steps at the length of pass that the load makes usual: a worker that has
to do ρμ rows a second carries r = ρμ · fixed / (1 − ρμ · row) of them at a time.

*Its wait* is that of processor sharing, u/μ · ρ/(1 − ρ) with u the units of a mean job, whatever
the spread of sizes (M/G/1 processor sharing, Kleinrock 1976). Rings are taken in turns, so each of
n workers gets every n-th job, which is steadier than chance: the wait is multiplied by
1/n + (1 − 1/n) · min(1, c²/2), with c the spread of jobs' units. That factor and the 3.5 mean
waits taken for the 95th percentile were fitted to the engine's own batcher in virtual time.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, pvariance

P95_WAITS = 3.5
MAX_BUSY = 0.95
"""Above it the least burst or lost worker makes the queue grow for hours."""
MAX_WORKERS = 100_000


class CannotBeMet(ValueError):
    """No number of workers meets the target."""


@dataclass(frozen=True)
class Speed:
    """What a worker's forward pass costs, as calibration measures it."""

    fixed_s: float
    row_s: float
    rows_per_tick: int

    def tick_s(self, rows: float) -> float:
        """Return the seconds of a pass over so many rows, in several passes where it must."""
        return self.fixed_s * max(1.0, rows / self.rows_per_tick) + self.row_s * rows

    @property
    def units_per_s(self) -> float:
        """Rows a second with full passes."""
        return self.rows_per_tick / self.tick_s(self.rows_per_tick)


@dataclass(frozen=True)
class Kind:
    """A kind of job: evaluations of one picture, rows an evaluation, pictures."""

    evaluations: int
    passes: int = 1  # 2 with guidance
    images: int = 1

    @property
    def units(self) -> int:
        """Its work in rows."""
        return self.evaluations * self.passes * self.images


@dataclass(frozen=True)
class Prediction:
    """What so many workers make of a load."""

    workers: int
    busy: float  # share of the time, 0 to 1
    mean_s: float  # from submission to the last picture
    p95_s: float


def predict(speed: Speed, jobs_per_s: float, kinds: Sequence[Kind], workers: int) -> Prediction:
    """Return latencies of a steady load of these kinds, each as frequent as the others.

    Infinite where the workers cannot keep up.
    """
    units = [kind.units for kind in kinds]
    mean_units = fmean(units)
    busy = jobs_per_s * mean_units / (workers * speed.units_per_s)
    if busy >= 1:
        return Prediction(workers, busy, math.inf, math.inf)
    rate = busy * speed.units_per_s
    carried = rate * speed.fixed_s / (1 - rate * speed.row_s)
    own = sorted(_own_s(kind, speed, carried) for kind in kinds)
    spread = pvariance(units) / mean_units**2
    steadied = 1 / workers + (1 - 1 / workers) * min(1.0, spread / 2)
    wait = mean_units / speed.units_per_s * busy / (1 - busy) * steadied
    longest = own[math.ceil(0.95 * len(own)) - 1]
    return Prediction(workers, busy, fmean(own) + wait, longest + P95_WAITS * wait)


def _own_s(kind: Kind, speed: Speed, carried: float) -> float:
    rows = kind.passes * kind.images
    return kind.evaluations * speed.tick_s(max(rows, min(carried, speed.rows_per_tick)))


def least(speed: Speed, jobs_per_s: float, kinds: Sequence[Kind], p95_s: float) -> Prediction:
    """Return the prediction for the fewest workers that meet the target below ``MAX_BUSY``.

    Raises:
        CannotBeMet: a job takes longer than the target by itself.
    """
    alone = sorted(_own_s(kind, speed, 0.0) for kind in kinds)[math.ceil(0.95 * len(kinds)) - 1]
    if alone > p95_s:
        raise CannotBeMet(f"a job takes {alone:.3g} s alone on a worker, the target is {p95_s:g} s")
    demand = jobs_per_s * fmean(kind.units for kind in kinds)
    workers = max(1, math.ceil(demand / (MAX_BUSY * speed.units_per_s)))
    while (found := predict(speed, jobs_per_s, kinds, workers)).p95_s > p95_s:
        workers += max(1, workers // 50)
        if workers > MAX_WORKERS:
            raise CannotBeMet(f"more than {MAX_WORKERS} workers")
    return found
