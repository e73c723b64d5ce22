"""A worker's Prometheus metrics. Labels are bounded: its models, outcomes, parts of a tick."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

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
from workers.engine.throughput import EngineStats

WAITS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)
ROWS = (1, 4, 10, 20, 30, 50, 100, 200, 500, 1000, 2000, 10000)
REASONS = ("lost", "drain", "parked", "failed")
M = TypeVar("M", Counter, Gauge, Histogram)


class Figures(Protocol):
    """What is read from a model's engine, or is left of it while the model is not loaded."""

    @property
    def stats(self) -> EngineStats:
        """What it has done since the worker's start."""
        ...

    @property
    def rows_per_tick(self) -> int:
        """The bound on forward rows."""
        ...

    @property
    def silent_s(self) -> float:
        """Seconds since the last tick while there is work, else 0."""
        ...


@dataclass(frozen=True)
class Unloaded:
    """The figures of a model that is not loaded."""

    stats: EngineStats
    rows_per_tick: int
    silent_s: float = 0.0


class Families:
    """A worker's metrics, with a series for each of its models."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series a counter
        self.registry = CollectorRegistry()
        self.engines: dict[str, tuple[Figures, int]] = {}  # model → its engine, its slots
        ProcessCollector(registry=self.registry)
        self.registry.register(EngineCollector(self.engines))
        self.jobs = self._one(Counter, "sfumato_worker_jobs", "Jobs ended here.", "outcome")
        self.claims = self._one(
            Counter, "sfumato_worker_claims", "Jobs claimed, by how they start.", "start"
        )
        self.departures = self._one(
            Counter, "sfumato_worker_departures", "Jobs that left before their end, by reason.",
            "reason",
        )  # fmt: skip
        self.queued = self._one(
            Histogram, "sfumato_job_queued_seconds",
            "Time from a job's creation to its first claim.", buckets=WAITS_S,
        )  # fmt: skip
        self.running = self._one(
            Histogram, "sfumato_job_running_seconds", "Time held by workers, over all attempts.",
            buckets=WAITS_S,
        )  # fmt: skip
        self.evaluations = self._one(
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
        self.paused = self._one(
            Gauge, "sfumato_worker_paused", "1 while an operator has it take no jobs."
        )
        self.up = self._one(Gauge, "sfumato_worker_up", "1 while it runs.")
        self.loaded = self._one(
            Gauge, "sfumato_worker_model_loaded", "1 while the model's weights are loaded."
        )
        self.load_seconds = self._one(
            Histogram, "sfumato_worker_model_load_seconds",
            "Time in which the model was loaded, at start and in the place of others.",
            buckets=WAITS_S,
        )  # fmt: skip

    def _one(self, kind: type[M], name: str, text: str, *labels: str, **options: Any) -> M:
        return kind(name, text, ["model", *labels], registry=self.registry, **options)


class Counters:
    """What a worker counts of one model; every series is there from the start."""

    def __init__(
        self, model: str, engine: Figures, slots: int, families: Families | None = None
    ) -> None:
        families = families or Families()
        self.registry = families.registry
        self._families = families
        self._model = model
        families.engines[model] = engine, slots
        for counter, values in (
            (families.jobs, ("succeeded", "failed")),
            (families.claims, ("fresh", "resumed")),
            (families.departures, REASONS),
        ):
            for value in values:
                counter.labels(model, value)
        self._queued = families.queued.labels(model)
        self._running = families.running.labels(model)
        self._evaluations = families.evaluations.labels(model)
        self.previews = families.previews.labels(model)
        self.redis_errors = families.redis_errors.labels(model)
        self.dropped_messages = families.dropped_messages.labels(model)
        self.draining = families.draining.labels(model)
        self.paused = families.paused.labels(model)
        families.up.labels(model).set(1)
        families.loaded.labels(model)
        families.load_seconds.labels(model)

    def loaded(self, engine: Figures, seconds: float) -> None:
        """Count that the model was loaded, and read its engine's figures from here on."""
        self._serve(engine)
        self._families.loaded.labels(self._model).set(1)
        self._families.load_seconds.labels(self._model).observe(seconds)

    def unloaded(self, stats: EngineStats, rows_per_tick: int) -> None:
        """Keep the figures of a model that is no longer loaded."""
        self._serve(Unloaded(stats, rows_per_tick))
        self._families.loaded.labels(self._model).set(0)

    def _serve(self, figures: Figures) -> None:
        _, slots = self._families.engines[self._model]
        self._families.engines[self._model] = figures, slots

    def claimed(self, claim: Claim) -> None:
        """Count a claim."""
        record = claim.record
        self._families.claims.labels(self._model, "resumed" if claim.checkpoints else "fresh").inc()
        if record.started_at is not None and record.attempts == 1:
            waited_s = max(0.0, record.started_at - record.queued_at)
            self._queued.observe(waited_s, _exemplar(record))

    def ended(self, record: JobRecord) -> None:
        """Count a job that ended here."""
        self._families.jobs.labels(self._model, str(record.status)).inc()
        self._running.observe(record.running_s, _exemplar(record))
        self._evaluations.observe(record.evaluations)

    def departed(self, reason: str) -> None:
        """Count a job that leaves before its end."""
        self._families.departures.labels(self._model, reason).inc()


def _exemplar(record: JobRecord) -> dict[str, str] | None:
    trace_id = traced_id(record.traceparent)
    return None if trace_id is None else {"trace_id": trace_id}


class EngineCollector(Collector):
    """Reads the engines' counters when Prometheus asks, so that ticks do not pay for it."""

    def __init__(self, engines: Mapping[str, tuple[Figures, int]]) -> None:
        self._engines = engines

    def collect(self) -> Iterator[Metric]:
        """Yield the engines' figures."""
        engines = list(self._engines.items())
        for name, text, count in COUNTED:
            counter = CounterMetricFamily(f"sfumato_engine_{name}", text, labels=["model"])
            for model, (engine, _) in engines:
                counter.add_metric([model], count(engine.stats))
            yield counter
        parts = CounterMetricFamily(
            "sfumato_engine_tick_seconds", "Engine time by part.", labels=["model", "part"]
        )
        for model, (engine, _) in engines:
            stats = engine.stats
            parts.add_metric([model, "model"], stats.model_s)
            parts.add_metric([model, "step"], stats.step_s)
            parts.add_metric([model, "overhead"], stats.overhead_s)
        yield parts
        for name, text, level in LEVELS:
            gauge = GaugeMetricFamily(f"sfumato_engine_{name}", text, labels=["model"])
            for model, (engine, slots) in engines:
                gauge.add_metric([model], level(engine, slots))
            yield gauge


Count = Callable[[EngineStats], float]
COUNTED: tuple[tuple[str, str, Count], ...] = (
    ("ticks", "Forward passes.", lambda stats: stats.ticks),
    ("rows", "UNet rows, padding left out.", lambda stats: stats.rows),
    ("evaluations", "Pictures advanced by a row.", lambda stats: stats.evaluations),
)
Level = Callable[[Figures, int], float]
LEVELS: tuple[tuple[str, str, Level], ...] = (
    ("slots", "Pictures that the engine can hold.", lambda _, slots: slots),
    ("slots_used", "Pictures that the engine holds.", lambda e, _: e.stats.slots_used),
    (
        "remaining_rows",
        "UNet rows that its pictures have left.",
        lambda e, _: e.stats.remaining_rows,
    ),
    ("rows_per_second", "UNet rows a second while busy.", lambda e, _: e.stats.rows_per_s),
    ("units_per_second", "Work a second with full batches.", lambda e, _: e.stats.units_per_s),
    ("rows_per_tick", "Bound on a forward pass.", lambda e, _: e.rows_per_tick),
    ("silent_seconds", "Time since the last tick, 0 when idle.", lambda e, _: e.silent_s),
)
