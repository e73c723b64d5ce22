"""One attempt at a job as a span, with its stages as child spans and its milestones as events.

Their number is bounded whatever the job's number of steps. The engine's thread writes none: its
reports carry times, and the publisher's loop turns them into spans.
"""

import contextlib
from collections.abc import Iterator
from time import time_ns

from opentelemetry.context import Context
from opentelemetry.trace import SpanKind, Status, StatusCode, set_span_in_context

from jobs.schema import JobError
from jobs.store import Claim
from jobs.telemetry.tracing import Tracing, parent
from workers.engine.messages import Admitted, Advanced, ImageProgress

TICK_EVERY_S = 1.0  # between two ticks that become spans
MAX_TICKS = 64
MAX_CHECKPOINTS = 32  # that become events; all are counted


class Attempt:
    """The spans of one attempt; OpenTelemetry's empty ones if the job is not traced."""

    def __init__(self, tracing: Tracing, claim: Claim, began_ns: int) -> None:
        record = claim.record
        self._tracer = tracing.tracer
        self._entered_ns: dict[int, int] = {}  # by image
        self._ticked_at = 0.0
        self._ticks = self._previews = self._checkpoints = 0
        self._span = self._tracer.start_span(
            "job attempt",
            context=parent(record.traceparent),
            kind=SpanKind.CONSUMER,
            start_time=began_ns,
            attributes={
                "sfumato.job_id": record.id,
                "sfumato.model": record.spec.model,
                "sfumato.worker": claim.lease.worker,
                "sfumato.attempt": record.attempts,
                "sfumato.resumed": bool(claim.checkpoints),
                "sfumato.waited_s": max(0.0, began_ns / 1e9 - record.queued_at),
            },
        )
        self._below = set_span_in_context(self._span, Context())
        self._stage("claim", began_ns, time_ns())

    def _stage(self, name: str, began_ns: int, ended_ns: int, **attributes: float) -> None:
        span = self._tracer.start_span(
            name,
            context=self._below,
            start_time=began_ns,
            attributes={f"sfumato.{key}": value for key, value in attributes.items()},
        )
        span.end(max(began_ns, ended_ns))

    def entered(self, image: int) -> None:
        """Note that an image waits for its slot."""
        self._entered_ns[image] = time_ns()

    def admitted(self, report: Admitted) -> None:
        """Show the time that an image has waited for its slot."""
        if (began_ns := self._entered_ns.pop(report.image, None)) is not None:
            at_ns = int(report.at * 1e9)
            self._stage("admission", began_ns, at_ns, image=report.image, row=report.row)

    def advanced(self, report: Advanced, progress: ImageProgress) -> None:
        """Show a tick once in a while, and the first one as an event too."""
        if not self._span.is_recording() or self._ticks >= MAX_TICKS:
            return
        if report.at - self._ticked_at < TICK_EVERY_S:
            return
        ended_ns = int(report.at * 1e9)
        if not self._ticks:
            self._span.add_event("first tick", {"sfumato.row": progress.row}, ended_ns)
        self._ticked_at = report.at
        self._ticks += 1
        self._stage(
            "tick",
            ended_ns - int(report.seconds * 1e9),
            ended_ns,
            tick=report.tick,
            rows=report.rows,
            pictures=len(report.images),
            row=progress.row,
        )

    def previewed(self) -> None:
        """Count a published preview; the first one is an event."""
        if self._span.is_recording() and not self._previews:
            self._span.add_event("first preview")
        self._previews += 1

    def checkpointed(self, row: int) -> None:
        """Show that a state is in the store."""
        if self._span.is_recording() and self._checkpoints < MAX_CHECKPOINTS:
            self._span.add_event("checkpoint", {"sfumato.row": row})
        self._checkpoints += 1

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Show a part of the attempt as a span of its own."""
        began_ns = time_ns()
        try:
            yield
        finally:
            self._stage(name, began_ns, time_ns())

    def end(self, outcome: str, error: JobError | None = None) -> None:
        """End the span; only the first end counts."""
        if not self._span.is_recording():
            return
        self._span.set_attributes(
            {
                "sfumato.outcome": outcome,
                "sfumato.previews": self._previews,
                "sfumato.checkpoints": self._checkpoints,
            }
        )
        if error is not None:
            self._span.set_attribute("sfumato.error", error.code)
            self._span.set_status(Status(StatusCode.ERROR, error.code))
        self._span.end()
