"""How long jobs took from creation to end: a histogram that the store keeps.

Jobs end in a worker, by a cancel at a door, or in a sweep. The transition that ends a job counts
it, so every door reports the same figures.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from jobs.schema import JobStatus

LATENCY_BOUNDS_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 1800, 3600)
"""Upper bounds of all buckets but the last, which has none."""
REST = "+Inf"


@dataclass(frozen=True)
class Exemplar:
    """A traced job in a bucket."""

    trace_id: str
    seconds: float
    at: float  # when it ended, seconds since 1970


@dataclass(frozen=True)
class Latency:
    """The histogram of one model's jobs with one outcome."""

    outcome: str
    buckets: tuple[tuple[str, int], ...]  # bound → jobs at or below it; the last is ``+Inf``
    sum_s: float = 0.0
    exemplars: dict[str, Exemplar] = field(default_factory=dict)  # by bound


def traced_id(traceparent: str | None) -> str | None:
    """Return the trace id of a W3C ``traceparent`` whose trace is recorded, else None."""
    parts = (traceparent or "").split("-")
    if len(parts) != 4 or not int(parts[3], 16) & 1:
        return None
    return parts[1]


def latencies(fields: Mapping[str, str]) -> tuple[Latency, ...]:
    """Return a model's histograms, one for each outcome, empty ones included.

    Fields are ``outcome:le:bound`` for one bucket's own count, ``outcome:sum`` for seconds, and
    ``outcome:exemplar:bound`` for ``trace_id seconds at``. Counts under a bound that is no longer
    used go to the next larger one.
    """
    return tuple(_latency(status.value, fields) for status in JobStatus if status.ended)


def _latency(outcome: str, fields: Mapping[str, str]) -> Latency:
    prefix = f"{outcome}:le:"
    own = {
        float(name.removeprefix(prefix)): int(count)
        for name, count in fields.items()
        if name.startswith(prefix)
    }
    bounds = [*LATENCY_BOUNDS_S, math.inf]
    names = [*(f"{bound:g}" for bound in LATENCY_BOUNDS_S), REST]
    exemplars = {}
    for name in names:
        if (kept := fields.get(f"{outcome}:exemplar:{name}")) is not None:
            trace_id, seconds, at = kept.split()
            exemplars[name] = Exemplar(trace_id, float(seconds), float(at))
    return Latency(
        outcome,
        tuple(
            (name, sum(count for le, count in own.items() if le <= bound))
            for name, bound in zip(names, bounds, strict=True)
        ),
        float(fields.get(f"{outcome}:sum", 0)),
        exemplars,
    )
