"""How long jobs took, as a Prometheus histogram read from the store."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import Exemplar, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.latency import Latency

Bucket = tuple[str, float] | tuple[str, float, Exemplar]


@dataclass(frozen=True, eq=False)  # a registry keeps its collectors by identity
class LatencyFigures(Collector):
    """The latencies of all models at one moment, the same from whichever door they are read."""

    latencies: Mapping[str, tuple[Latency, ...]]  # by model

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram; a traced job is its bucket's exemplar."""
        seconds = HistogramMetricFamily(
            "sfumato_job_seconds",
            "Time from a job's creation to its end.",
            labels=["model", "outcome"],
        )
        for model, outcomes in sorted(self.latencies.items()):
            for each in outcomes:
                seconds.add_metric([model, each.outcome], _buckets(each), each.sum_s)
        yield seconds


def _buckets(latency: Latency) -> list[Bucket]:
    found: list[Bucket] = []
    for bound, count in latency.buckets:
        le = bound if bound == "+Inf" else str(float(bound))
        exemplar = _exemplar(latency, bound)
        found.append((le, count) if exemplar is None else (le, count, exemplar))
    return found


def _exemplar(latency: Latency, bound: str) -> Exemplar | None:
    kept = latency.exemplars.get(bound)
    if kept is None:
        return None
    return Exemplar({"trace_id": kept.trace_id}, kept.seconds, kept.at)
