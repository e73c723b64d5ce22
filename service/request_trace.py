"""A request as a span, under its client's ``traceparent``."""

import contextlib
from collections.abc import Iterator

from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode
from starlette.datastructures import Headers
from starlette.types import Scope

from jobs.tracing import OFF, Tracing, parent

QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Polled every few seconds by machines: not traced, and logged at debug level only."""


@contextlib.contextmanager
def traced(scope: Scope) -> Iterator[Span]:
    """Make the request's span the current one within the block; yield an empty one if untraced."""
    tracing: Tracing = getattr(scope["app"].state, "tracing", OFF)
    if not tracing.on or scope["path"] in QUIET:
        yield INVALID_SPAN
        return
    method = scope["method"]
    with tracing.tracer.start_as_current_span(
        method,
        context=parent(Headers(scope=scope).get("traceparent")),
        kind=SpanKind.SERVER,
        attributes={"http.request.method": method, "url.path": scope["path"]},
    ) as span:
        yield span


def end_span(span: Span, method: str, route: str | None, status: int) -> None:
    """Name a request's span after its route and record its status; 0 stands for no response."""
    if not span.is_recording():
        return
    if route is not None:
        span.update_name(f"{method} {route}")
        span.set_attribute("http.route", route)
    if status:
        span.set_attribute("http.response.status_code", status)
    if status >= 500:
        span.set_status(Status(StatusCode.ERROR))
