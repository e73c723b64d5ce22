"""The events of a job's stream, and the parser of server-sent events."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Base64Bytes, Field, TypeAdapter
from pydantic_core import from_json

from .views import JobView, View

_ID = re.compile(r"[0-9]+-[0-9]+")
_LINE = re.compile(rb"\r\n|\n|\r(?!\Z)")  # a CR at the end may be half of a CRLF


class _Event(View):
    id: str | None  # None: the snapshot at the start of a stream
    attempt: int  # of the job; after a recovery its step may fall


class StatusEvent(_Event):
    """The job's current state; the first event of a stream."""

    kind: Literal["status"] = "status"
    job: JobView


class ProgressEvent(_Event):
    """The steps done so far."""

    kind: Literal["progress"] = "progress"
    step: int
    total: int
    eta_s: float | None = None


class PreviewEvent(_Event):
    """A preview: an estimate of the finished image, or the noisy sample."""

    kind: Literal["preview"] = "preview"
    image: int
    step: int
    content_type: str
    data: Base64Bytes


class ResultEvent(_Event):
    """The ended job; the last event."""

    kind: Literal["result"] = "result"
    job: JobView


JobEvent: TypeAlias = StatusEvent | ProgressEvent | PreviewEvent | ResultEvent
_EVENT: TypeAdapter[JobEvent] = TypeAdapter(Annotated[JobEvent, Field(discriminator="kind")])


def job_event(kind: str, data: str, event_id: str) -> JobEvent | None:
    """Return a frame as an event; None if its kind is unknown. Raises: ValueError."""
    if kind not in ("status", "progress", "preview", "result") or not data:
        return None
    fields: dict[str, Any] = from_json(data)
    attempt = fields.pop("attempt")
    fields.pop("job", None)  # its id, which the caller knows
    if kind in ("status", "result"):
        fields = {"job": fields}
    known = event_id if _ID.fullmatch(event_id) else None
    return _EVENT.validate_python(fields | {"kind": kind, "id": known, "attempt": attempt})


@dataclass
class Frames:
    """Parses server-sent events incrementally.

    Lines end as the standard says (LF, CR or both), not at U+2028 or wherever else Python splits.
    """

    rest: bytes = b""
    kind: str = ""
    data: str = ""
    event_id: str = ""

    def read(self, piece: bytes) -> Iterator[tuple[str, str, str]]:
        """Yield the kind, data and id of each event that this piece completes."""
        *lines, self.rest = _LINE.split(self.rest + piece)
        for line in lines:
            if line:
                self._field(line.decode("utf-8", "replace"))
            else:
                yield self.kind, self.data.removesuffix("\n"), self.event_id
                self.kind = self.data = ""

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self.kind = value
        elif name == "data":
            self.data += f"{value}\n"
        elif name == "id" and "\0" not in value:
            self.event_id = value
