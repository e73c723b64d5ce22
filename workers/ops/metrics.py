"""A worker's Prometheus metrics. Labels are bounded: its model, outcomes, parts of a tick."""

from collections.abc import Iterator
from typing import Any, TypeVar

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.latency import traced_id
from jobs.schema import JobRecord
from jobs.store import Claim
from workers.engine.engine import Engine

WAITS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)
ROWS = (1, 4, 10, 20, 30, 50, 100, 200, 500, 1000, 2000, 10000)
REASONS = ("lost", "drain", "parked", "failed")
M = TypeVar("M", Counter, Gauge, Histogram)


class Counters:
    """What a worker counts, and its engine's figures; every series is there from the start."""

    def __init__(self, model: str, engine: Engine, slots: int) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series a counter
        self.registry = CollectorRegistry()
        self._model = model
        ProcessCollector(registry=self.registry)
        self.registry.register(EngineCollector(engine, slots, model))
        self._jobs = self._labelled(
            "sfumato_worker_jobs", "Jobs ended here.", "outcome", "succeeded", "failed"
        )
        self._claims = self._labelled(
            "sfumato_worker_claims", "Jobs claimed, by how they start.", "start",
            "fresh", "resumed",
        )  # fmt: skip
        self._departures = self._labelled(
            "sfumato_worker_departures", "Jobs that left before their end, by reason.", "reason",
            *REASONS,
        )  # fmt: skip
        self._queued = self._one(
            Histogram, "sfumato_job_queued_seconds",
            "Time from a job's creation to its first claim.", buckets=WAITS_S,
        )  # fmt: skip
        self._running = self._one(
            Histogram, "sfumato_job_running_seconds", "Time held by workers, over all attempts.",
            buckets=WAITS_S,
        )  # fmt: skip
        self._evaluations = self._one(
            Histogram, "sfumato_job_evaluations", "UNet rows of a finished job.", buckets=ROWS
        )
        self.previews = self._one(Counter, "sfumato_worker_previews", "Previews published.")
        self.redis_errors = self._one(
            Counter, "sfumato_worker_redis_errors", "Store calls that failed."
        )
        self.dropped_messages = self._one(
            Counter, "sfumato_worker_dropped_messages", "Foreign messages on the queue."
        )
        self.draining = self._one(
            Gauge, "sfumato_worker_draining", "1 while it gives its jobs back to stop."
        )
        self._one(Gauge, "sfumato_worker_up", "1 while it runs.").set(1)

    def _one(self, kind: type[M], name: str, text: str, **options: Any) -> M:
        metric = kind(name, text, ["model"], registry=self.registry, **options)
        return metric.labels(self._model)

    def _labelled(self, name: str, text: str, label: str, *values: str) -> Counter:
        counter = Counter(name, text, ["model", label], registry=self.registry)
        for value in values:
            counter.labels(self._model, value)
        return counter

    def claimed(self, claim: Claim) -> None:
        """Count a claim."""
        record = claim.record
        self._claims.labels(self._model, "resumed" if claim.checkpoints else "fresh").inc()
        if record.started_at is not None and record.attempts == 1:
            waited_s = max(0.0, record.started_at - record.queued_at)
            self._queued.observe(waited_s, _exemplar(record))

    def ended(self, record: JobRecord) -> None:
        """Count a job that ended here."""
        self._jobs.labels(self._model, str(record.status)).inc()
        self._running.observe(record.running_s, _exemplar(record))
        self._evaluations.observe(record.evaluations)

    def departed(self, reason: str) -> None:
        """Count a job that leaves before its end."""
        self._departures.labels(self._model, reason).inc()


def _exemplar(record: JobRecord) -> dict[str, str] | None:
    trace_id = traced_id(record.traceparent)
    return None if trace_id is None else {"trace_id": trace_id}


class EngineCollector(Collector):
    """Reads the engine's counters when Prometheus asks, so that ticks do not pay for it."""

    def __init__(self, engine: Engine, slots: int, model: str) -> None:
        self._engine = engine
        self._slots = slots
        self._model = model

    def collect(self) -> Iterator[Metric]:
        """Yield the engine's figures."""
        stats = self._engine.stats
        for name, text, value in (
            ("ticks", "Forward passes.", stats.ticks),
            ("rows", "UNet rows, padding left out.", stats.rows),
            ("evaluations", "Pictures advanced by a row.", stats.evaluations),
        ):
            counter = CounterMetricFamily(f"sfumato_engine_{name}", text, labels=["model"])
            counter.add_metric([self._model], value)
            yield counter
        parts = CounterMetricFamily(
            "sfumato_engine_tick_seconds", "Engine time by part.", labels=["model", "part"]
        )
        for part, seconds in (
            ("model", stats.model_s), ("step", stats.step_s), ("overhead", stats.overhead_s)
        ):  # fmt: skip
            parts.add_metric([self._model, part], seconds)
        yield parts
        for name, text, level in (
            ("slots", "Pictures that the engine can hold.", float(self._slots)),
            ("slots_used", "Pictures that the engine holds.", float(stats.slots_used)),
            ("remaining_rows", "UNet rows that its pictures have left.", stats.remaining_rows),
            ("rows_per_second", "UNet rows a second while busy.", stats.rows_per_s),
            ("units_per_second", "Work a second with full batches.", stats.units_per_s),
            ("rows_per_tick", "Bound on a forward pass.", float(self._engine.rows_per_tick)),
            ("silent_seconds", "Time since the last tick, 0 when idle.", self._engine.silent_s),
        ):
            gauge = GaugeMetricFamily(f"sfumato_engine_{name}", text, labels=["model"])
            gauge.add_metric([self._model], level)
            yield gauge
