"""The metrics that all doors share, read from the store when Prometheus scrapes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    Exemplar,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from jobs.fleet import WorkerEntry
from jobs.latency import Latency
from jobs.outbox import OutboxCounts
from jobs.scaling import ScalingSignal
from jobs.store import Backlog, Totals

Bucket = tuple[str, float] | tuple[str, float, Exemplar]


@dataclass(frozen=True, eq=False)  # a registry keeps its collectors by identity
class StoreFigures(Collector):
    """The store's figures at one moment, the same at every door."""

    totals: Totals
    backlogs: Mapping[str, Backlog]  # by model
    latencies: Mapping[str, Sequence[Latency]]  # by model
    workers: Sequence[WorkerEntry]
    signals: Sequence[ScalingSignal]
    results_limit_bytes: int  # above it the oldest images are dropped
    records_limit_bytes: int  # above it the oldest ended jobs are deleted
    outbox: OutboxCounts

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        yield from self._counters()
        yield from self._gauges()
        yield from self._backlog()
        yield from self._workers()
        yield from self._scaling()
        yield self._latency()

    def _counters(self) -> Iterator[Metric]:
        totals, counter = self.totals, CounterMetricFamily
        yield counter("sfumato_jobs_accepted", "Jobs accepted.", totals.created)
        yield counter("sfumato_jobs_lost", "Jobs that vanished from Redis.", totals.lost)
        yield counter("sfumato_leases_reaped", "Leases that expired.", totals.leases_reaped)
        yield GaugeMetricFamily(
            "sfumato_unreadable_records",
            "Stored records found damaged and neither repaired nor deleted since.",
            totals.unreadable,
        )
        jobs = counter("sfumato_jobs", "Jobs ended, by outcome.", labels=["outcome"])
        for outcome, count in sorted(totals.ended.items()):
            jobs.add_metric([outcome], count)
        failures = counter("sfumato_job_failures", "Jobs failed, by reason.", labels=["code"])
        for code, count in sorted(totals.failures.items()):
            failures.add_metric([code], count)
        yield jobs
        yield failures

    def _gauges(self) -> Iterator[Metric]:
        totals, outbox = self.totals, self.outbox
        kept = totals.results_bytes + totals.previews_bytes
        for name, text, value in (
            ("webhooks_pending", "Deliveries that wait, due or not.", outbox.pending),
            ("webhooks_undelivered", "Deliveries given up and still listed.", outbox.failed),
            (
                "webhooks_oldest_due_seconds",
                "Age of the first due one; 0: none.",
                outbox.oldest_due_s,
            ),
            ("results_bytes", "Memory used by finished pictures and last previews.", kept),
            ("results_limit_bytes", "Above it the oldest are dropped.", self.results_limit_bytes),
            ("records_bytes", "Memory used by ended jobs' records.", totals.records_bytes),
            ("records_limit_bytes", "Above it the oldest are deleted.", self.records_limit_bytes),
            ("store_memory_bytes", "Memory used by Redis.", totals.memory_bytes),
            (
                "store_memory_limit_bytes",
                "Above it no job is accepted.",
                totals.memory_limit_bytes,
            ),
            ("store_evicts", "1 if Redis may delete jobs when full.", totals.evicts),
            ("models", "Models that a worker has announced.", len(self.backlogs)),
        ):
            yield GaugeMetricFamily(f"sfumato_{name}", text, value)

    def _backlog(self) -> Iterator[Metric]:
        text = "Outstanding work, in UNet evaluations at base resolution."
        labels = ["model", "state"]
        jobs = GaugeMetricFamily("sfumato_backlog_jobs", "Jobs that have not ended.", labels=labels)
        units = GaugeMetricFamily("sfumato_backlog_units", text, labels=labels)
        for model, backlog in sorted(self.backlogs.items()):
            jobs.add_metric([model, "queued"], backlog.pending_jobs)
            jobs.add_metric([model, "running"], backlog.running_jobs)
            units.add_metric([model, "queued"], backlog.pending_units)
            units.add_metric([model, "running"], backlog.running_units)
        yield jobs
        yield units

    def _workers(self) -> Iterator[Metric]:
        live = _of_model("workers", "Live workers.")
        slots = _of_model("slots", "Pictures that they can hold.")
        speed = _of_model("rows_per_second", "UNet rows per second of all workers.")
        for model in sorted(self.backlogs.keys() | {w.model for w in self.workers}):
            workers = [w for w in self.workers if w.model == model]
            live.add_metric([model], len(workers))
            slots.add_metric([model], sum(w.slots for w in workers))
            speed.add_metric([model], sum(w.rows_per_s for w in workers))
        yield from (live, slots, speed)

    def _scaling(self) -> Iterator[Metric]:
        backlog = _of_model("backlog_seconds", "Outstanding work over one worker's speed.")
        text = "Units per second of one worker with full batches; 0 while unknown."
        speed = _of_model("worker_units_per_second", text)
        text = "Time from a worker's start until its engine is ready; 0 while unknown."
        cold_start = _of_model("worker_cold_start_seconds", text)
        for signal in self.signals:
            backlog.add_metric([signal.model], signal.backlog_s)
            speed.add_metric([signal.model], signal.units_per_s)
            cold_start.add_metric([signal.model], signal.cold_start_s)
        yield from (backlog, speed, cold_start)

    def _latency(self) -> Metric:
        text = "Time from a job's creation to its end."
        seconds = HistogramMetricFamily("sfumato_job_seconds", text, labels=["model", "outcome"])
        for model, outcomes in sorted(self.latencies.items()):
            for each in outcomes:
                buckets = [_bucket(each, bound, count) for bound, count in each.buckets]
                seconds.add_metric([model, each.outcome], buckets, each.sum_s)
        return seconds


def _of_model(name: str, text: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"sfumato_{name}", text, labels=["model"])


def _bucket(latency: Latency, bound: str, count: int) -> Bucket:
    le = bound if bound == "+Inf" else str(float(bound))
    kept = latency.exemplars.get(bound)  # a traced job
    if kept is None:
        return le, count
    return le, count, Exemplar({"trace_id": kept.trace_id}, kept.seconds, kept.at)


def store_metrics(accept: str, figures: StoreFigures) -> tuple[bytes, str]:
    """Return the store's metrics and their content type, OpenMetrics for clients that accept it."""
    registry = CollectorRegistry()
    registry.register(figures)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
