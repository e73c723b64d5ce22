"""What one replica of the door counts, and the port that serves it to Prometheus."""

import contextlib
from collections.abc import Iterator
from functools import partial
from threading import Thread
from wsgiref.simple_server import WSGIServer

import structlog
from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    start_http_server,
)

from jobs.host.addresses import bind_host

log = structlog.get_logger()

METHODS = frozenset({"GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH"})
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60)
WATCHED_PROBLEMS = (
    "backlog_full", "quota_exceeded", "deadline_unmeetable", "rate_limited", "store_full",
    "no_model", "store_unavailable", "internal_error",
)  # fmt: skip
CONNECTION_REASONS = ("too_many", "too_large", "malformed", "slow", "silent", "stalled")
PORTS_TRIED = 32


class DoorCounters:
    """The counts of one replica. Labels are bounded: route templates, methods, status codes."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # doubles the series
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        counter = partial(Counter, registry=self.registry)
        self._requests = counter(
            "sfumato_http_requests", "Requests answered.", ["method", "route", "status"]
        )
        self._seconds = Histogram(
            "sfumato_http_request_seconds", "Time to the end of the response, without streams "
            "and waits.", ["method", "route"], buckets=SECONDS, registry=self.registry,
        )  # fmt: skip
        self._problems = counter(
            "sfumato_http_problems", "Requests answered with a problem, by its code.", ["code"]
        )
        self._redis_errors = counter(
            "sfumato_door_redis_errors", "Requests refused because Redis was unavailable."
        )
        self.webhooks = counter(
            "sfumato_webhooks", "Attempts to deliver a webhook, by outcome.", ["outcome"]
        )
        self.scaling_unannounced = counter(
            "sfumato_scaling_unannounced",
            "Scaling signals returned for models that no worker has announced.",
        )
        self.streams = Gauge("sfumato_event_streams", "Open event streams.", registry=self.registry)
        self.connections = Gauge(
            "sfumato_door_connections", "Open connections, under uvicorn.", registry=self.registry
        )
        self.connections_refused = counter(
            "sfumato_door_connections_refused", "Connections closed for what they did.", ["reason"]
        )
        for reason in CONNECTION_REASONS:
            self.connections_refused.labels(reason)
        for code in WATCHED_PROBLEMS:
            self._problems.labels(code)  # exported at zero, so that the first one is an increase
        for outcome in ("delivered", "retried", "failed"):
            self.webhooks.labels(outcome)

    def responded(
        self,
        method: str,
        route: str | None,
        status: int,
        seconds: float,
        *,
        long: bool,
        trace_id: str | None = None,
    ) -> None:
        """Count a response; a path that matches no route counts as ``none``.

        ``long`` marks one that lasted as long as the client liked: its time is not recorded.
        """
        method = method if method in METHODS else "other"
        route = route or "none"
        self._requests.labels(method, route, str(status)).inc()
        if not long:
            exemplar = None if trace_id is None else {"trace_id": trace_id}
            self._seconds.labels(method, route).observe(seconds, exemplar)

    def refused(self, code: str) -> None:
        """Count a problem by its code."""
        self._problems.labels(code).inc()
        if code == "store_unavailable":
            self._redis_errors.inc()


@contextlib.contextmanager
def counters_served(counters: DoorCounters, host: str, port: int) -> Iterator[None]:
    """Serve the replica's own ``/metrics`` from a thread while the block runs, unless port is 0.

    Replicas on one machine share the setting, so each takes the first free port from it on.
    """
    if not port:
        yield
        return
    server, thread = _listen(counters.registry, host, port)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _listen(registry: CollectorRegistry, host: str, port: int) -> tuple[WSGIServer, Thread]:
    for candidate in range(port, min(port + PORTS_TRIED, 65536)):
        with contextlib.suppress(OSError):
            listening = start_http_server(candidate, addr=bind_host(host), registry=registry)
            log.info("replica metrics", host=host, port=candidate)
            return listening
    raise OSError(f"no free port for the replica's metrics from {host}:{port} on")
