"""The figures that all doors share, read from the store when Prometheus asks."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from jobs.outbox import OutboxCounts
from jobs.scaling import ScalingSignal
from jobs.store import Backlog, Totals, WorkerEntry


@dataclass(frozen=True, eq=False)  # a registry keeps its collectors by identity
class StoreFigures(Collector):
    """The store's figures at one moment, the same from whichever door they are read."""

    totals: Totals
    backlogs: dict[str, Backlog]  # by model
    workers: Sequence[WorkerEntry]
    signals: Sequence[ScalingSignal]
    memory_limit_bytes: int  # admission closes above it
    results_limit_bytes: int  # the oldest pictures are dropped above it
    outbox: OutboxCounts

    def collect(self) -> Iterator[Metric]:
        """Yield the figures."""
        yield CounterMetricFamily("sfumato_jobs_accepted", "Jobs taken on.", self.totals.created)
        ended = CounterMetricFamily("sfumato_jobs", "Jobs ended, by outcome.", labels=["outcome"])
        for outcome, count in sorted(self.totals.ended.items()):
            ended.add_metric([outcome], count)
        yield ended
        failed = CounterMetricFamily(
            "sfumato_job_failures", "Jobs failed, by reason.", labels=["code"]
        )
        for code, count in sorted(self.totals.failures.items()):
            failed.add_metric([code], count)
        yield failed
        yield CounterMetricFamily(
            "sfumato_leases_reaped", "Leases that ran out.", self.totals.leases_reaped
        )
        yield GaugeMetricFamily(
            "sfumato_unreadable_records",
            "Stored records found damaged, neither repaired nor deleted since.",
            self.totals.unreadable,
        )
        yield from self._webhooks()
        yield from self._memory()
        yield from self._backlog()
        yield from self._workers()
        yield from self._scaling()

    def _webhooks(self) -> Iterator[Metric]:
        pending, failed, late_s = self.outbox.pending, self.outbox.failed, self.outbox.oldest_due_s
        for name, text, value in (
            ("pending", "Deliveries that wait, due or not.", pending),
            ("undelivered", "Deliveries given up and still in sight.", failed),
            ("oldest_due_seconds", "Since when the first could be tried; 0: none is due.", late_s),
        ):
            yield GaugeMetricFamily(f"sfumato_webhooks_{name}", text, value)

    def _memory(self) -> Iterator[Metric]:
        used, limit = self.totals.memory_bytes, self.memory_limit_bytes
        kept, most = self.totals.results_bytes, self.results_limit_bytes
        for name, text, value in (
            ("results_bytes", "Memory held by finished pictures.", kept),
            ("results_limit_bytes", "Above it pictures go, the oldest first.", most),
            ("store_memory_bytes", "Memory used by Redis.", used),
            ("store_memory_limit_bytes", "Above it no job is taken on.", limit),
        ):
            yield GaugeMetricFamily(f"sfumato_{name}", text, value)

    def _backlog(self) -> Iterator[Metric]:
        jobs = GaugeMetricFamily(
            "sfumato_backlog_jobs", "Jobs not ended.", labels=["model", "state"]
        )
        units = GaugeMetricFamily(
            "sfumato_backlog_units",
            "Work left, in UNet evaluations at base resolution.",
            labels=["model", "state"],
        )
        for model, backlog in sorted(self.backlogs.items()):
            jobs.add_metric([model, "queued"], backlog.pending_jobs)
            jobs.add_metric([model, "running"], backlog.running_jobs)
            units.add_metric([model, "queued"], backlog.pending_units)
            units.add_metric([model, "running"], backlog.running_units)
        yield jobs
        yield units

    def _workers(self) -> Iterator[Metric]:
        models = len(self.backlogs)
        yield GaugeMetricFamily("sfumato_models", "Models that a worker has announced.", models)
        live = GaugeMetricFamily("sfumato_workers", "Live workers.", labels=["model"])
        slots = GaugeMetricFamily("sfumato_slots", "Pictures they can hold.", labels=["model"])
        speed = GaugeMetricFamily(
            "sfumato_rows_per_second", "UNet rows a second of all workers.", labels=["model"]
        )
        for model in sorted(self.backlogs.keys() | {w.model for w in self.workers}):
            of_model = [w for w in self.workers if w.model == model]
            live.add_metric([model], len(of_model))
            slots.add_metric([model], sum(w.slots for w in of_model))
            speed.add_metric([model], sum(w.rows_per_s for w in of_model))
        yield live
        yield slots
        yield speed

    def _scaling(self) -> Iterator[Metric]:
        backlog = GaugeMetricFamily(
            "sfumato_backlog_seconds", "Work left over one worker's speed.", labels=["model"]
        )
        speed = GaugeMetricFamily(
            "sfumato_worker_units_per_second",
            "Work that one worker does a second with full batches; 0 while unknown.",
            labels=["model"],
        )
        cold = GaugeMetricFamily(
            "sfumato_worker_cold_start_seconds",
            "From a worker's process to its engine's being ready; 0 while unknown.",
            labels=["model"],
        )
        for signal in self.signals:
            backlog.add_metric([signal.model], signal.backlog_s)
            speed.add_metric([signal.model], signal.units_per_s)
            cold.add_metric([signal.model], signal.cold_start_s)
        yield backlog
        yield speed
        yield cold


def store_metrics(accept: str, *figures: Collector) -> tuple[bytes, str]:
    """Return the store's figures and their content type: OpenMetrics for those who accept it."""
    registry = CollectorRegistry()
    for each in figures:
        registry.register(each)
    encode, content_type = choose_encoder(accept)
    return encode(registry), content_type
