"""A worker's Prometheus metrics. Labels are bounded: its model, outcomes, parts of a tick."""

from collections.abc import Iterator

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
from workers.engine import Engine

WAITS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)
REASONS = ("lost", "drain", "parked")


class Counters:
    """What the runtime counts."""

    def __init__(self, model: str) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series a counter
        self.registry = CollectorRegistry()
        self._model = model
        ProcessCollector(registry=self.registry)
        self._jobs = Counter(
            "sfumato_worker_jobs", "Jobs ended here.", ["model", "outcome"],
            registry=self.registry,
        )  # fmt: skip
        self._claims = Counter(
            "sfumato_worker_claims", "Jobs claimed, by how they start.", ["model", "start"],
            registry=self.registry,
        )  # fmt: skip
        self._departures = Counter(
            "sfumato_worker_departures", "Jobs that left before their end, by reason.",
            ["model", "reason"], registry=self.registry,
        )  # fmt: skip
        self._queued = Histogram(
            "sfumato_job_queued_seconds", "Time from a job's creation to its first claim.",
            ["model"], buckets=WAITS_S, registry=self.registry,
        )  # fmt: skip
        self._running = Histogram(
            "sfumato_job_running_seconds", "Time held by workers, over all attempts.",
            ["model"], buckets=WAITS_S, registry=self.registry,
        )  # fmt: skip
        self._evaluations = Histogram(
            "sfumato_job_evaluations", "UNet rows of a finished job.", ["model"],
            buckets=(1, 4, 10, 20, 30, 50, 100, 200, 500, 1000, 2000, 10000),
            registry=self.registry,
        )  # fmt: skip
        self._previews = Counter(
            "sfumato_worker_previews", "Previews published.", ["model"], registry=self.registry
        )
        self._redis_errors = Counter(
            "sfumato_worker_redis_errors", "Store calls that failed.", ["model"],
            registry=self.registry,
        )  # fmt: skip
        self._dropped = Counter(
            "sfumato_worker_dropped_messages", "Messages on the queue that were no rings.",
            ["model"], registry=self.registry,
        )  # fmt: skip
        self._draining = Gauge(
            "sfumato_worker_draining", "1 while it gives its jobs back to stop.", ["model"],
            registry=self.registry,
        )  # fmt: skip
        self._show_at_zero()

    def _show_at_zero(self) -> None:
        """Show every series from the start, so that the first event is a rise."""
        for outcome in ("succeeded", "failed"):
            self._jobs.labels(self._model, outcome)
        for start in ("fresh", "resumed"):
            self._claims.labels(self._model, start)
        for reason in REASONS:
            self._departures.labels(self._model, reason)
        for each in (
            self._queued, self._running, self._evaluations, self._previews, self._redis_errors,
            self._dropped, self._draining,
        ):  # fmt: skip
            each.labels(self._model)

    def claimed(self, claim: Claim) -> None:
        """Count a claim."""
        record = claim.record
        self._claims.labels(self._model, "resumed" if claim.checkpoints else "fresh").inc()
        if record.started_at is not None and record.attempts == 1:
            waited_s = max(0.0, record.started_at - record.queued_at)
            self._queued.labels(self._model).observe(waited_s, _exemplar(record))

    def ended(self, record: JobRecord) -> None:
        """Count a job that ended here."""
        self._jobs.labels(self._model, str(record.status)).inc()
        self._running.labels(self._model).observe(record.running_s, _exemplar(record))
        self._evaluations.labels(self._model).observe(record.evaluations)

    def departed(self, reason: str) -> None:
        """Count a job that leaves before its end."""
        self._departures.labels(self._model, reason).inc()

    def previewed(self, count: int) -> None:
        """Count published previews."""
        self._previews.labels(self._model).inc(count)

    def trouble(self) -> None:
        """Count a store call that failed."""
        self._redis_errors.labels(self._model).inc()

    def dropped(self) -> None:
        """Count a message on the queue that was no ring."""
        self._dropped.labels(self._model).inc()

    def draining(self) -> None:
        """Tell that the worker gives its jobs back."""
        self._draining.labels(self._model).set(1)


def _exemplar(record: JobRecord) -> dict[str, str] | None:
    trace_id = traced_id(record.traceparent)
    return None if trace_id is None else {"trace_id": trace_id}


class EngineCollector(Collector):
    """Reads the engine's counters when Prometheus asks, so that a tick pays nothing."""

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


def add_engine(counters: Counters, engine: Engine, slots: int, model: str) -> None:
    """Let the counters' registry show the engine's figures too."""
    counters.registry.register(EngineCollector(engine, slots, model))
    up = Gauge("sfumato_worker_up", "1 while it runs.", ["model"], registry=counters.registry)
    up.labels(model).set(1)
