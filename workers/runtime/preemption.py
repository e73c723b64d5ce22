"""Preemption: which job gives its slots to another when a worker is full.

The worker knows which of its jobs is of the lowest class, the store which tenant of that class has
more than its share.

A job is preempted between two ticks and keeps its state, so nothing is evaluated twice. It is not
preempted again before it has advanced, so that it finishes however many higher ones come.
"""

from collections.abc import Iterable, Sequence

from jobs.tenants import Holding
from workers.runtime.run import Run


def preemptible(runs: Iterable[Run]) -> list[Run]:
    """Return the jobs that may be preempted: they hold slots and have advanced here."""
    return [run for run in runs if run.leaving is None and run.in_slots and run.evaluations > 0]


def lowest_rank(runs: Iterable[Run]) -> int | None:
    """Return the rank of the lowest class that could be preempted, None if nothing could."""
    return max((run.claim.rank for run in preemptible(runs)), default=None)


def holdings(runs: Sequence[Run]) -> tuple[Holding, ...]:
    """Return what the jobs of the lowest class that could be preempted hold."""
    rank, may = lowest_rank(runs), preemptible(runs)
    return tuple(
        Holding(run.id, len(run.in_slots), run in may) for run in runs if run.claim.rank == rank
    )


def to_preempt(runs: Iterable[Run], waiting: int) -> Run | None:
    """Return the job with most work left of the lowest class, if that is below ``waiting``."""
    lower = [run for run in preemptible(runs) if run.claim.rank > waiting]
    return max(lower, key=lambda run: (run.claim.rank, run.rows_left), default=None)
