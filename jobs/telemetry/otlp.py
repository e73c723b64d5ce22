"""Sending spans to a collector over OTLP/HTTP. Needs the ``otel`` extra."""

from importlib.metadata import version
from threading import Thread
from urllib.parse import urlsplit

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, TraceIdRatioBased
from requests import Session

from jobs.host.addresses import is_loopback

EXPORT_S = 2.0  # per batch, retries included; spans that cannot be sent are dropped
CLOSE_S = 3.0  # an unreachable collector must not delay shutdown


def door_sampler(ratio: float) -> Sampler:
    """Return a sampler that records this share of traces, and none that the client excludes.

    The share also applies to traces that a client asks to record, so that clients cannot flood the
    collector.
    """
    share = TraceIdRatioBased(ratio)
    return ParentBased(share, remote_parent_sampled=share)


def worker_sampler() -> Sampler:
    """Return a sampler that records what the door records, and nothing else."""
    return ParentBased(ALWAYS_OFF)


def provider(endpoint: str, sampler: Sampler, service: str, instance: str) -> TracerProvider:
    """Return a provider that sends spans to the collector at a base URL, from a thread."""
    resource = Resource.create(
        {
            "service.name": service,
            "service.instance.id": instance,
            "service.version": version("sfumato"),
        }
    )
    made = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
    session = Session()
    session.trust_env = not is_loopback(urlsplit(endpoint).hostname or "")  # no proxy reaches that
    url = f"{endpoint.rstrip('/')}/v1/traces"
    exporter = OTLPSpanExporter(endpoint=url, timeout=EXPORT_S, session=session)
    made.add_span_processor(BatchSpanProcessor(exporter))
    return made


def close(made: TracerProvider) -> None:
    """Send the remaining spans, for at most ``CLOSE_S``."""
    closing = Thread(target=made.shutdown, name="otlp-close", daemon=True)
    closing.start()
    closing.join(CLOSE_S)
