"""Spans that door and workers write about one job, and how they find each other.

A job's record carries the W3C trace context it was created under, so that every later span belongs
to its client's trace, whichever worker claims the job. Where no collector is named, spans are
OpenTelemetry's empty ones: nothing is kept and nothing is sent.
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
    """Where a process' spans go."""

    tracer: Tracer
    on: bool  # False where nobody looks at them
    close: Callable[[], None]  # sends what is left, for a few seconds at most


OFF = Tracing(NoOpTracer(), False, lambda: None)


def open_tracing(
    settings: JobsSettings, service: str, instance: str, *, behind: bool = False
) -> Tracing:
    """Return where the spans of this service's instance go; close it at the end.

    ``behind`` a door, the door has chosen which traces are recorded.

    Raises:
        StartError: a collector is named and the libraries to reach it are not installed.
    """
    if not settings.otlp_endpoint:
        return OFF
    try:
        from jobs.telemetry import otlp
    except ModuleNotFoundError as error:
        raise StartError(
            f"SFUMATO_OTLP_ENDPOINT is set and {error.name} is not installed: pip install '.[otel]'"
        ) from error
    sampler = otlp.following() if behind else otlp.choosing(settings.trace_ratio)
    provider = otlp.provider(settings.otlp_endpoint, sampler, service, instance)
    return Tracing(provider.get_tracer("sfumato"), True, lambda: otlp.close(provider))


def parent(traceparent: str | None) -> Context:
    """Return the context of a W3C ``traceparent``; one that is absent or malformed begins anew."""
    carrier = {} if traceparent is None else {"traceparent": traceparent}
    return _W3C.extract(carrier, context=Context())


def traceparent(span: Span) -> str | None:
    """Return the W3C ``traceparent`` of a span, None for an empty one."""
    carrier: dict[str, str] = {}
    _W3C.inject(carrier, context=set_span_in_context(span, Context()))
    return carrier.get("traceparent")


def recorded_id(span: Span) -> str | None:
    """Return the trace id of a span that is recorded, else None."""
    return format_trace_id(span.get_span_context().trace_id) if span.is_recording() else None
