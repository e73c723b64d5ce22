"""Which job gives its place to one of a higher class when a worker is full.

A job is parked between two ticks with its state, so nothing is evaluated twice. It is not parked
again before it has moved on, so that however many higher ones come it gets through.
"""

from collections.abc import Iterable

from workers.run import Run


def parkable(runs: Iterable[Run]) -> list[Run]:
    """Return the jobs that may be parked: they hold places and have moved since they came."""
    return [run for run in runs if run.leaving is None and run.inside and run.evaluations > 0]


def lowest_rank(runs: Iterable[Run]) -> int | None:
    """Return the rank of the lowest class that could be parked, None where nothing could."""
    return max((run.claim.rank for run in parkable(runs)), default=None)


def to_park(runs: Iterable[Run], waiting: int) -> Run | None:
    """Return the job with most work left of the lowest class, where that is below ``waiting``."""
    lower = [run for run in parkable(runs) if run.claim.rank > waiting]
    return max(lower, key=lambda run: (run.claim.rank, run.rows_left), default=None)
