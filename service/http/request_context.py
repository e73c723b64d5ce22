"""Around each request: its id, log line, metrics and trace, and a response to unexpected errors."""

import contextlib
import re
import uuid
from collections.abc import Iterator
from time import perf_counter

import structlog
from opentelemetry.trace import INVALID_SPAN, Span, SpanKind, Status, StatusCode
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jobs.telemetry.tracing import OFF, Tracing, parent, recorded_id
from service.http.problem import Refusal, problem_response
from service.metrics.replica import DoorCounters

log = structlog.get_logger()
_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Polled every few seconds by machines: not traced, and logged at debug level only."""


class RequestContext:
    """ASGI middleware: assigns each request an id, and logs and counts its end.

    It also turns unexpected exceptions into problems, so that those responses carry the request id
    like all others.
    """

    def __init__(self, app: ASGIApp, counters: DoorCounters, *, echo_id: bool = True) -> None:
        self._app = app
        self._counters = counters
        self._echo_id = echo_id  # False if a server in front returns the id itself

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        with traced(scope) as span:
            await self._serve(scope, receive, send, span)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, span: Span) -> None:
        request_id = chosen_id(scope)
        scope.setdefault("state", {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        if (trace_id := recorded_id(span)) is not None:
            structlog.contextvars.bind_contextvars(trace_id=trace_id)
        response = _Response(scope, send, request_id if self._echo_id else None)
        started_at = perf_counter()
        try:
            await self._app(scope, receive, response.send)
        except Exception:
            log.exception("unexpected error", method=scope["method"], path=scope["path"])
            if not response.status:
                detail = "internal error; the log has the details under this request id"
                refusal = Refusal(500, "internal_error", detail)
                await problem_response(scope, refusal)(scope, receive, response.send)
        finally:
            self._ended(scope, response, perf_counter() - started_at, span)

    def _ended(self, scope: Scope, response: "_Response", seconds: float, span: Span) -> None:
        method, path, status = scope["method"], scope["path"], response.status
        route = getattr(scope.get("route"), "path", None)
        end_span(span, method, route, status)
        self._counters.responded(
            method, route, status, seconds, long=response.long, trace_id=recorded_id(span)
        )
        if (code := scope["state"].get("problem")) is not None:
            self._counters.refused(code)
        write = log.debug if path in QUIET else log.info
        duration_ms = round(seconds * 1000, 2)
        write("request", method=method, path=path, status=status or None, duration_ms=duration_ms)


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


def chosen_id(scope: Scope) -> str:
    """Return the id that the client sent if it is well-formed, else a new one."""
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _ID.fullmatch(given) else uuid.uuid4().hex


class _Response:
    """Adds the id and other headers to a response on its way out and remembers what it was."""

    def __init__(self, scope: Scope, send: Send, request_id: str | None) -> None:
        self._scope = scope
        self._send = send
        self._request_id = request_id
        self.status = 0  # until the response has started
        self.long = False  # a stream, or a wait: it lasts as long as the client likes

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if self._request_id is not None:
                headers["x-request-id"] = self._request_id
            headers.update(self._scope["state"].get("response_headers", {}))
            self.status = message["status"]
            stream = headers.get("content-type", "").startswith("text/event-stream")
            self.long = stream or "preference-applied" in headers
        await self._send(message)
