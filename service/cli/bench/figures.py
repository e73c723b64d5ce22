"""The figures of a load: latencies, throughput and failures."""

from collections import Counter
from collections.abc import Iterable, Sequence
from math import ceil
from statistics import fmean
from typing import Any

from pydantic import BaseModel, ConfigDict

from service.cli.bench.load import Sample


class Spread(BaseModel):
    """How long something took, in seconds."""

    model_config = ConfigDict(frozen=True)

    mean: float
    p50: float
    p99: float
    max: float


class Figures(BaseModel):
    """The figures of a load."""

    model_config = ConfigDict(frozen=True)

    elapsed_s: float  # from the start to the end of the last job
    due: int
    succeeded: int
    refused: dict[str, int]  # by code
    failed: dict[str, int]  # by status; ``lost``: the service went away, ``not_sent``
    latency_s: Spread | None  # of successful jobs, from the time they were due to their result
    first_preview_s: Spread | None
    pictures_per_s: float


def figures(samples: Sequence[Sample], elapsed_s: float) -> Figures:
    """Return the figures of a load."""
    done = [sample for sample in samples if sample.succeeded]
    others = [sample for sample in samples if not sample.succeeded]
    return Figures(
        elapsed_s=round(elapsed_s, 3),
        due=len(samples),
        succeeded=len(done),
        refused=Counter(sample.outcome for sample in others if sample.refused),
        failed=Counter(sample.outcome for sample in others if not sample.refused),
        latency_s=spread(sample.latency_s for sample in done),
        first_preview_s=spread(sample.first_preview_s for sample in samples),
        pictures_per_s=round(len(done) / elapsed_s, 3) if elapsed_s else 0.0,
    )


def spread(times: Iterable[float | None]) -> Spread | None:
    """Return the mean and percentiles of the times that are not None; None if all are."""
    known = sorted(time for time in times if time is not None)
    if not known:
        return None
    return Spread(
        mean=round(fmean(known), 4),
        p50=round(percentile(known, 50), 4),
        p99=round(percentile(known, 99), 4),
        max=round(known[-1], 4),
    )


def percentile(ascending: Sequence[float], percent: float) -> float:
    """Return a percentile by the nearest-rank method."""
    return ascending[max(0, ceil(len(ascending) * percent / 100) - 1)]


def rows(found: Figures) -> list[tuple[Any, ...]]:
    """Return the latencies as table rows, with dashes where there are none."""
    times = {"latency": found.latency_s, "first preview": found.first_preview_s}
    return [
        (name, *(("-",) * 4 if each is None else (f"{t:.3f} s" for _, t in each)))
        for name, each in times.items()
    ]
