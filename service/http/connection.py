"""One client's connection under uvicorn, with the bounds that uvicorn leaves to a proxy."""

import asyncio
import json
from asyncio import TimerHandle
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, cast

import structlog
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.metrics.replica import DoorCounters

log = structlog.get_logger()

MAX_HEAD_BYTES = 65_536  # request line and header fields, or the trailer fields
MAX_TARGET_BYTES = 16_384
MAX_FIELDS = 128
LINGER_S, LINGER_BYTES = 2.0, 1024 * 1024
"""How much of a refused client's data is read and dropped, so that it can read why it was refused;
to a connection that is closed with data unread, the kernel sends a reset."""
LOG_EVERY_S = 10.0
FIRST_PROBE_S, PROBE_S = 0.05, 0.5
"""Pauses between asking a client that may have left: the first, doubled each time, and the last."""
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True)
class ConnectionLimits:
    """What one connection, and all of them together, may take."""

    connections: int
    head_s: float = 10.0  # for a request's head to arrive, from its first byte or the connection's
    body_s: float = 65.0  # for its body; longer than the application's own deadline
    stall_s: float = 30.0  # for a client to read on once the buffers are full


class TooLarge(Exception):
    """A head is beyond its bounds; the parser wraps it."""


class Connections:
    """What the connections of a server share: their limits, and what is said of refused ones."""

    def __init__(self, limits: ConnectionLimits, counters: DoorCounters) -> None:
        self.limits = limits
        self._counters = counters
        self._logged_at: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def opened(self) -> None:
        """Count an open connection."""
        self._counters.connections.inc()

    def closed(self) -> None:
        """Count one less."""
        self._counters.connections.dec()

    def refused(self, reason: str, now: float) -> None:
        """Count a connection that the door closes; log it, at most every ten seconds a reason."""
        self._counters.connections_refused.labels(reason).inc()
        if reason == "silent":  # browsers open connections that they may not need
            return
        self._unsaid[reason] = self._unsaid.get(reason, 0) + 1
        if now - self._logged_at.get(reason, -LOG_EVERY_S) >= LOG_EVERY_S:
            self._logged_at[reason] = now
            log.warning("connections refused", reason=reason, count=self._unsaid.pop(reason))


class Connection(HttpToolsProtocol):
    """A connection whose head, idle time, unread output and number of siblings are bounded."""

    def __init__(self, *, shared: Connections, **options: Any) -> None:
        super().__init__(**options)
        self._shared = shared
        self._limits = shared.limits
        self._phase = (
            "head"  # what is received next: "head", "body", or "done" if nothing has to be
        )
        self._size = 0  # of the head, or of the trailers, as far as it has been parsed
        self._fields = 0
        self._unparsed = 0  # bytes received since something was parsed
        self._parsed = self._heard = False
        self._refusal = (400, "malformed_request", "this is not an HTTP request")
        self._refused = False
        self._dropped = 0  # bytes received since
        self._deadline: TimerHandle | None = None
        self._stall: TimerHandle | None = None
        self._probe: TimerHandle | None = None

    # The connection's life

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin with a connection, or refuse it where there are too many."""
        super().connection_made(transport)
        self._shared.opened()
        if len(self.connections) > self._limits.connections:
            self._refuse("too_many", 503, "too_many_connections", "too many connections; try later")
        else:
            self._expect(self._limits.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget all deadlines."""
        for timer in (self._deadline, self._stall, self._probe):
            if timer is not None:
                timer.cancel()
        self._shared.closed()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what has come; refuse a head that is too large or does not end."""
        if self._refused:
            self._dropped += len(data)
            if self._dropped > LINGER_BYTES:
                self.transport.abort()
            return
        self._parsed, self._heard = False, True
        super().data_received(data)
        if self._refused or self.transport.is_closing():
            return
        self._unparsed = 0 if self._parsed else self._unparsed + len(data)
        if self._unparsed > MAX_HEAD_BYTES:
            self._too_large(431, "headers_too_large", f"more than {MAX_HEAD_BYTES} bytes")
            self.send_400_response("")
        elif self._phase != "done":
            self._expect(self._limits.head_s if self._phase == "head" else self._limits.body_s)
        elif not self._parsed and not self._answering():
            self._phase = "head"  # empty lines before a request
            self._expect(self._limits.head_s)

    def eof_received(self) -> bool:  # type: ignore[override]
        """Return whether to keep a connection that its client will send nothing more on.

        A client may close its side once it has sent a request, and wait for the response. One that
        has left looks the same until something is sent to it.
        """
        waits = self._phase == "done" and self._answering() and not self._refused
        if not waits or self.cycle.response_started or self.cycle.scope["http_version"] != "1.1":
            return False
        self.cycle.keep_alive = False
        self._ask_whether_there()
        return True

    def _ask_whether_there(self, pause_s: float = FIRST_PROBE_S) -> None:
        if self._answering() and not self.cycle.response_started:
            self.transport.write(_CONTINUE)  # an interim response, which a client skips
            further_s = min(PROBE_S, 2 * pause_s)
            self._probe = self.loop.call_later(pause_s, self._ask_whether_there, further_s)

    # The parser's calls

    def on_message_begin(self) -> None:
        """Begin a request."""
        super().on_message_begin()
        self._phase, self._size, self._fields = "head", 0, 0

    def on_url(self, url: bytes) -> None:
        """Take part of the request's target."""
        super().on_url(url)
        if len(self.url) > MAX_TARGET_BYTES:
            raise self._too_large(
                414, "uri_too_long", f"the target exceeds {MAX_TARGET_BYTES} bytes"
            )

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a field of the head or of the trailers."""
        self._size += len(name) + len(value) + 4
        self._fields += 1
        if self._fields > MAX_FIELDS:
            raise self._too_large(431, "headers_too_large", f"more than {MAX_FIELDS} fields")
        if self._size + len(self.url) > MAX_HEAD_BYTES:
            raise self._too_large(431, "headers_too_large", f"more than {MAX_HEAD_BYTES} bytes")
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """End the head; the application begins."""
        if self._refused:
            return
        self._reached("body")
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take part of the body."""
        self._parsed = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        """End the request."""
        self._reached("done")
        super().on_message_complete()

    def _reached(self, phase: str) -> None:
        self._phase, self._parsed, self._size, self._fields = phase, True, 0, 0
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    # Deadlines

    def _expect(self, seconds: float) -> None:
        """Expect the end of the head or the body within this time of its beginning."""
        if self._deadline is None:
            self._deadline = self.loop.call_later(seconds, self._late, seconds)

    def _late(self, seconds: float) -> None:
        self._deadline = None
        if self._phase == "head" and self._answering():
            self._expect(seconds)  # a head behind a request that is still being answered
        elif self._phase == "head" and not self._heard:
            self._abort("silent")
        elif self._answering() and self.cycle.response_started:
            self._abort("slow")
        else:
            detail = f"the request's {self._phase} did not arrive within {seconds:g} s"
            self._refuse("slow", 408, "request_timeout", detail)

    def pause_writing(self) -> None:
        """Give a client that does not read a while to go on."""
        super().pause_writing()
        self._expect_reading()

    def resume_writing(self) -> None:
        """The client has read."""
        super().resume_writing()
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def on_response_complete(self) -> None:
        """Wait for the next request, or for the client to read what is left of a last response."""
        super().on_response_complete()
        if self.transport.is_closing():
            self._expect_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Close an idle connection, even if its client has not read its last response."""
        if self.transport.get_write_buffer_size():
            self._abort("stalled")
        else:
            super().timeout_keep_alive_handler()

    def _expect_reading(self) -> None:
        if self._stall is None and self.transport.get_write_buffer_size():
            self._stall = self.loop.call_later(self._limits.stall_s, self._abort, "stalled")

    # Refusals

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser does not accept."""
        status, code, detail = self._refusal
        self._refuse("malformed" if status == 400 else "too_large", status, code, detail)

    def _too_large(self, status: int, code: str, detail: str) -> TooLarge:
        self._refusal = (status, code, detail)
        return TooLarge(detail)

    def _refuse(self, reason: str, status: int, code: str, detail: str) -> None:
        """Answer with a problem, unless a response is under way, and close the connection."""
        self._shared.refused(reason, self.loop.time())
        self._refused = True
        if self._answering() and self.cycle.response_started:
            self.transport.abort()
            return
        if self._answering():
            self.cycle.disconnected = True  # what the application answers is not sent
            self.cycle.message_event.set()
        self.transport.write(problem(status, code, detail))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self._unset_keepalive_if_required()
        if reason == "too_many":
            self.transport.close()  # it holds a file that others need
            return
        self._stall = self.loop.call_later(LINGER_S, self.transport.abort)

    def _abort(self, reason: str) -> None:
        self._shared.refused(reason, self.loop.time())
        self.transport.abort()

    def _answering(self) -> bool:
        return cast(Any, self.cycle) is not None and not self.cycle.response_complete


def problem(status: int, code: str, detail: str) -> bytes:
    """Return a whole response that closes the connection."""
    members = {
        "type": f"urn:sfumato:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
    }
    body = json.dumps(members, separators=(",", ":")).encode()
    head = [
        f"HTTP/1.1 {status} {HTTPStatus(status).phrase}",
        "content-type: application/problem+json",
        f"content-length: {len(body)}",
        "connection: close",
        *(["retry-after: 1"] if status == 503 else []),
    ]
    return "\r\n".join([*head, "", ""]).encode() + body
