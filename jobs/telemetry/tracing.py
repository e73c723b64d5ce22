"""The spans of a job from door and workers, joined in one trace.

A job's record holds the W3C trace context that it was created under, so every later span belongs
to its client's trace, whichever worker claims the job. Without a collector, spans are no-ops.
"""

from collections.abc import Callable
from dataclasses import dataclass

from opentelemetry.context import Context
from opentelemetry.trace import NoOpTracer, Span, Tracer, format_trace_id, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from jobs.errors import StartError
from jobs.settings import JobsSettings

_W3C = TraceContextTextMapPropagator()


@dataclass(frozen=True)
class Tracing:
    """A process' tracer, and how to close it."""

    tracer: Tracer
    on: bool  # False: spans are discarded
    close: Callable[[], None]  # sends the remaining spans, for a few seconds at most


OFF = Tracing(NoOpTracer(), False, lambda: None)


def open_tracing(
    settings: JobsSettings, service: str, instance: str, *, behind: bool = False
) -> Tracing:
    """Return the tracing of an instance of a service; close it at exit.

    ``behind`` a door, the traces recorded are those that the door chose.

    Raises:
        StartError: a collector is set, but the ``otel`` extra is not installed.
    """
    if not settings.otlp_endpoint:
        return OFF
    try:
        from jobs.telemetry import otlp
    except ModuleNotFoundError as error:
        raise StartError(
            f"SFUMATO_OTLP_ENDPOINT is set and {error.name} is not installed: pip install '.[otel]'"
        ) from error
    sampler = otlp.worker_sampler() if behind else otlp.door_sampler(settings.trace_ratio)
    provider = otlp.provider(settings.otlp_endpoint, sampler, service, instance)
    return Tracing(provider.get_tracer("sfumato"), True, lambda: otlp.close(provider))


def parent(traceparent: str | None) -> Context:
    """Return the context of a W3C ``traceparent``, an empty one if it is absent or malformed."""
    carrier = {} if traceparent is None else {"traceparent": traceparent}
    return _W3C.extract(carrier, context=Context())


def traceparent(span: Span) -> str | None:
    """Return the W3C ``traceparent`` of a span, None for a no-op span."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, context=set_span_in_context(span, Context()))
    return carrier.get("traceparent")


def recorded_id(span: Span) -> str | None:
    """Return the trace id of a recorded span, else None."""
    return format_trace_id(span.get_span_context().trace_id) if span.is_recording() else None
