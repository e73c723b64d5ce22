"""The state of following a job's stream, which resumes after the last event received."""

import time
from collections.abc import Iterator
from typing import Any

import httpx

from .call import check, understood, why
from .errors import ServiceUnavailable, StreamLost, TooBusy, WaitTimeout
from .events import Frames, JobEvent, job_event
from .retries import PAUSES_S, pause_s
from .routes import job_path

BROKEN = (httpx.HTTPError, ServiceUnavailable, TooBusy)
"""Errors after which a stream is resumed."""


class Following:
    """Follows a job's events across reconnections.

    ``timeout_s`` is checked at each event and keep-alive, and when none arrives for that long.
    """

    def __init__(self, job_id: str, after: str | None, timeout_s: float | None) -> None:
        self.ended = False
        self._job_id, self._after, self._timeout_s = job_id, after, timeout_s
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s
        self._failures = 0
        self._frames = Frames()

    def options(self, http: httpx.Client | httpx.AsyncClient) -> dict[str, Any]:
        """Return the arguments of ``http.stream`` for the next connection. Raises: WaitTimeout."""
        left_s = self._left_s()
        reads_s = [each for each in (left_s, http.timeout.read) if each is not None]
        return {
            "url": f"{job_path(self._job_id)}/events",
            "headers": {} if self._after is None else {"last-event-id": self._after},
            "timeout": httpx.Timeout(
                **http.timeout.as_dict() | {"read": min(reads_s, default=None)}
            ),
        }

    def opened(self, response: httpx.Response) -> None:
        """Start on a response; if it is an error, its body has been read.

        Raises:
            ProblemError: the job does not exist, or may not be seen.
            UnexpectedResponse: this is not an event stream.
        """
        check(response)
        self._frames = Frames()
        self.ended = response.status_code == 204  # it has already been read to its end
        kind = response.headers.get("content-type", "").partition(";")[0]
        with understood(response):
            if not self.ended and kind != "text/event-stream":
                raise ValueError(kind)

    def events(self, response: httpx.Response, piece: bytes) -> Iterator[JobEvent]:
        """Yield the events that a piece of a response completes; ``ended`` after the result.

        Raises:
            UnexpectedResponse: these are not events of a job.
            WaitTimeout: the time is up.
        """
        for kind, data, event_id in self._frames.read(piece):
            with understood(response):
                event = job_event(kind, data, event_id)
            if event is None:
                continue
            self._failures, self._after = 0, event.id or self._after
            self.ended = event.kind == "result"
            yield event
            if self.ended:
                return
        self._left_s()

    def pause_s(self, error: Exception | None = None) -> float:
        """Return the pause before the next connection; without an error, the door closed this one.

        Raises:
            StreamLost: there have been too many errors in a row.
            WaitTimeout: the time is up.
        """
        left_s = self._left_s()
        if error is None:
            return (
                0.0 if self.ended else PAUSES_S[0]
            )  # give the door, or another one, time to start
        if self._failures == len(PAUSES_S):
            raise StreamLost(f"lost the events of job {self._job_id}: {why(error)}") from error
        seconds = pause_s(error, self._failures)
        self._failures += 1
        return seconds if left_s is None else min(seconds, left_s)

    def _left_s(self) -> float | None:
        if self._deadline is None or self.ended:
            return None
        if (left_s := self._deadline - time.monotonic()) <= 0:
            detail = f"job {self._job_id} has not ended after {self._timeout_s:g} s; it continues"
            raise WaitTimeout(detail)
        return left_s
