"""A worker's Prometheus metrics. Labels are bounded: outcomes and parts of a tick."""

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from jobs.schema import JobRecord
from jobs.store import Claim
from workers.engine import Engine

WAITS_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)


class Counters:
    """What the runtime counts."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._jobs = Counter(
            "sfumato_worker_jobs", "Jobs ended here.", ["outcome"], registry=self.registry
        )
        self._claims = Counter(
            "sfumato_worker_claims", "Jobs claimed, by how they start.", ["start"],
            registry=self.registry,
        )  # fmt: skip
        self._queued = Histogram(
            "sfumato_job_queued_seconds", "Time from queueing to this worker's claim.",
            buckets=WAITS_S, registry=self.registry,
        )  # fmt: skip
        self._running = Histogram(
            "sfumato_job_running_seconds", "Time held by workers, over all attempts.",
            buckets=WAITS_S, registry=self.registry,
        )  # fmt: skip
        self._evaluations = Histogram(
            "sfumato_job_evaluations", "UNet rows of a finished job.",
            buckets=(1, 4, 10, 20, 30, 50, 100, 200, 500, 1000, 2000, 10000),
            registry=self.registry,
        )  # fmt: skip
        self._previews = Counter(
            "sfumato_worker_previews", "Previews published.", registry=self.registry
        )
        self._redis_errors = Counter(
            "sfumato_worker_redis_errors", "Store calls that failed.", registry=self.registry
        )

    def claimed(self, claim: Claim) -> None:
        """Count a claim."""
        record = claim.record
        self._claims.labels("resumed" if claim.checkpoints else "fresh").inc()
        if record.started_at is not None and record.attempts == 1:
            self._queued.observe(max(0.0, record.started_at - record.queued_at))

    def ended(self, record: JobRecord) -> None:
        """Count a job that ended here."""
        self._jobs.labels(str(record.status)).inc()
        self._running.observe(record.running_s)
        self._evaluations.observe(record.evaluations)

    def previewed(self, count: int) -> None:
        """Count published previews."""
        self._previews.inc(count)

    def trouble(self) -> None:
        """Count a store call that failed."""
        self._redis_errors.inc()


class EngineCollector(Collector):
    """Reads the engine's counters when Prometheus asks, so that a tick pays nothing."""

    def __init__(self, engine: Engine, slots: int) -> None:
        self._engine = engine
        self._slots = slots

    def collect(self) -> Iterator[Metric]:
        """Yield the engine's figures."""
        stats = self._engine.stats
        for name, text, value in (
            ("ticks", "Forward passes.", stats.ticks),
            ("rows", "UNet rows, padding left out.", stats.rows),
            ("evaluations", "Pictures advanced by a row.", stats.evaluations),
        ):
            yield CounterMetricFamily(f"sfumato_engine_{name}", text, value=value)
        parts = CounterMetricFamily(
            "sfumato_engine_tick_seconds", "Engine time by part.", labels=["part"]
        )
        parts.add_metric(["model"], stats.model_s)
        parts.add_metric(["step"], stats.step_s)
        parts.add_metric(["overhead"], stats.overhead_s)
        yield parts
        for name, text, gauge in (
            ("slots", "Pictures that the engine can hold.", float(self._slots)),
            ("slots_used", "Pictures that the engine holds.", float(stats.slots_used)),
            ("remaining_rows", "UNet rows that its pictures have left.", stats.remaining_rows),
            ("rows_per_second", "UNet rows a second while busy.", stats.rows_per_s),
            ("units_per_second", "Work a second with full batches.", stats.units_per_s),
            ("rows_per_tick", "Bound on a forward pass.", float(self._engine.rows_per_tick)),
        ):
            yield GaugeMetricFamily(f"sfumato_engine_{name}", text, value=gauge)


def add_engine(counters: Counters, engine: Engine, slots: int) -> None:
    """Let the counters' registry show the engine's figures too."""
    counters.registry.register(EngineCollector(engine, slots))
    Gauge("sfumato_worker_up", "1 while it runs.", registry=counters.registry).set(1)
