"""Job latencies as a Prometheus histogram, read from the store."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import Exemplar, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.latency import Latency

Bucket = tuple[str, float] | tuple[str, float, Exemplar]


@dataclass(frozen=True, eq=False)  # a registry keeps its collectors by identity
class LatencyFigures(Collector):
    """The latencies of all models at one moment, the same at every door."""

    latencies: Mapping[str, tuple[Latency, ...]]  # by model

    def collect(self) -> Iterator[Metric]:
        """Yield the histogram; a traced job is the exemplar of its bucket."""
        seconds = HistogramMetricFamily(
            "sfumato_job_seconds",
            "Time from a job's creation to its end.",
            labels=["model", "outcome"],
        )
        for model, outcomes in sorted(self.latencies.items()):
            for each in outcomes:
                buckets = [_bucket(each, bound, count) for bound, count in each.buckets]
                seconds.add_metric([model, each.outcome], buckets, each.sum_s)
        yield seconds


def _bucket(latency: Latency, bound: str, count: int) -> Bucket:
    le = bound if bound == "+Inf" else str(float(bound))
    kept = latency.exemplars.get(bound)
    if kept is None:
        return le, count
    return le, count, Exemplar({"trace_id": kept.trace_id}, kept.seconds, kept.at)
