"""Sending spans to a collector over OTLP/HTTP. Needs the ``otel`` extra."""

from importlib.metadata import version
from threading import Thread

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased

EXPORT_S = 2.0  # for one batch, attempts included; what cannot be sent is dropped
CLOSE_S = 3.0  # a collector that is away must not hold up a stop


def choosing(ratio: float) -> Sampler:
    """Return a door's choice: this share of all traces, and none that its client leaves out.

    The share bounds what a client asks to record too, so that no stranger can fill the collector.
    """
    share = TraceIdRatioBased(ratio)
    return ParentBased(share, remote_parent_sampled=share)


def following() -> Sampler:
    """Return a worker's choice: what the door chose for the job, and nothing else."""
    return ParentBased(ALWAYS_OFF)


def provider(endpoint: str, sampler: Sampler, service: str, instance: str) -> TracerProvider:
    """Return a provider whose spans go to the collector at this base URL, from a thread."""
    resource = Resource.create(
        {
            "service.name": service,
            "service.instance.id": instance,
            "service.version": version("sfumato"),
        }
    )
    made = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
    exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=EXPORT_S)
    made.add_span_processor(BatchSpanProcessor(exporter))
    return made


def close(made: TracerProvider) -> None:
    """Send what is left, as far as the time allows."""
    closing = Thread(target=made.shutdown, name="otlp-close", daemon=True)
    closing.start()
    closing.join(CLOSE_S)
