"""A Python client: submit a prompt, follow the job, fetch its images.

with Client("http://127.0.0.1:8000") as client:
    job = client.submit("a red apple", num_inference_steps=20)
    for event in client.follow(job.id):
        print(event.kind, event.data)
    data = client.image(job.id)
"""

import base64
import contextlib
import re
import time
import uuid
from collections.abc import Iterator
from typing import Any, Literal, Self, TypeVar, get_args
from urllib.parse import quote

import httpx
import orjson
from httpx_sse import EventSource, ServerSentEvent, SSEError
from pydantic import TypeAdapter

from service.client.connection import open_connection, shown
from service.client.errors import (
    ClientError,
    ConnectionFailed,
    InvalidArgument,
    NotFound,
    ServiceUnavailable,
    StreamLost,
    TooBusy,
    UnexpectedResponse,
    problem_error,
)
from service.client.retries import PAUSES_S, pause_s, retried
from service.resources.manifest import Manifest
from service.resources.representations import (
    JobList,
    JobView,
    ModelList,
    SamplerList,
    View,
    WorkerView,
)

T = TypeVar("T")
_ID = re.compile(r"[0-9]+-[0-9]+")
EventKind = Literal["status", "progress", "preview", "result"]


class JobEvent(View):
    """One event of a job's stream."""

    kind: EventKind
    id: str | None  # None: the snapshot at the start of a stream
    attempt: int
    data: dict[str, Any]

    def job(self) -> JobView:
        """Return the job of a ``status`` or ``result`` event."""
        return JobView.model_validate(self.data)

    def preview(self) -> bytes:
        """Return the image of a ``preview`` event."""
        return base64.b64decode(self.data["data"])


class Client:
    """Talks to one door. All methods raise :class:`service.client.errors.ClientError`.

    Requests are sent again for ``retry_s`` after connection errors, 429 and 503, waiting as long as
    the door asks; 0 turns this off. None of them does anything twice: a submission keeps its
    idempotency key.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retry_s: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Connect on first use. Raises: InvalidArgument."""
        self._http = open_connection(url, api_key, timeout_s, transport)
        self._retry_s = retry_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release connections."""
        self._http.close()

    def submit(self, prompt: str, *, key: str | None = None, **fields: Any) -> JobView:
        """Submit a job; ``fields`` are those of ``POST /v1/jobs``.

        Each call has an idempotency key, which all of its attempts share: none makes a second job.
        Pass your own ``key`` to be able to repeat the call itself.
        """
        body = {"prompt": prompt} | {k: v for k, v in fields.items() if v is not None}
        headers = {"idempotency-key": f'"{key or uuid.uuid4()}"'}
        return self._as(JobView, "/v1/jobs", "POST", json=body, headers=headers)

    def get(self, job_id: str) -> JobView:
        """Return a job."""
        return self._as(JobView, f"{_job(job_id)}")

    def jobs(
        self, *, status: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> JobList:
        """Return a page of jobs, newest first."""
        given = {"status": status, "limit": limit, "cursor": cursor}
        params = {name: value for name, value in given.items() if value is not None}
        return self._as(JobList, "/v1/jobs", params=params)

    def finish(self, job_id: str) -> JobView:
        """End a running job at its present step, with its estimates as its images."""
        return self._as(JobView, f"{_job(job_id)}/finish", "POST")

    def cancel(self, job_id: str) -> JobView:
        """Cancel a job."""
        return self._as(JobView, f"{_job(job_id)}/cancel", "POST")

    def delete(self, job_id: str) -> None:
        """Delete a job with its images."""
        self._send("DELETE", f"{_job(job_id)}")

    def manifest(self, job_id: str) -> Manifest:
        """Return what made the images of a job that has ended."""
        return self._as(Manifest, f"{_job(job_id)}/manifest")

    def image(self, job_id: str, index: int = 0) -> bytes:
        """Return the bytes of a finished image."""
        return self._send("GET", f"{_job(job_id)}/images/{index}").content

    def preview(self, job_id: str) -> bytes | None:
        """Return the bytes of the latest preview, None if there is none yet."""
        try:
            return self._send("GET", f"{_job(job_id)}/preview").content
        except NotFound:
            return None

    def models(self) -> ModelList:
        """Return the models that workers have announced."""
        return self._as(ModelList, "/v1/models")

    def samplers(self) -> SamplerList:
        """Return the samplers with the models that offer them."""
        return self._as(SamplerList, "/v1/samplers")

    def workers(self) -> list[WorkerView]:
        """Return the live workers."""
        return self._as(list[WorkerView], "/v1/workers")

    def ready(self) -> bool:
        """Return whether the door accepts jobs."""
        try:
            return self._once("GET", "/readyz").status_code == 200
        except ClientError:
            return False

    def wait(self, job_id: str) -> JobView:
        """Return the job once it has ended."""
        for event in self.follow(job_id):
            if event.kind == "result":
                return event.job()
        return self.get(job_id)

    def follow(self, job_id: str, after: str | None = None) -> Iterator[JobEvent]:
        """Yield a job's events until its result; an interrupted stream is resumed where it was.

        Raises:
            NotFound: the job does not exist, or was deleted meanwhile.
            StreamLost: the stream could not be resumed.
        """
        failures = 0
        while True:
            try:
                for event in self._events(job_id, after):
                    failures = 0
                    after = event.id or after
                    yield event
                    if event.kind == "result":
                        return
            except _NoMoreEvents:
                return
            except (httpx.HTTPError, ServiceUnavailable, TooBusy) as error:
                if failures == len(PAUSES_S):
                    raise StreamLost(f"lost the events of job {job_id}: {_why(error)}") from error
                time.sleep(pause_s(error, failures))
                failures += 1
            else:
                time.sleep(PAUSES_S[0])  # the door closed the stream: let it or another one start

    def _events(self, job_id: str, after: str | None) -> Iterator[JobEvent]:
        headers = {} if after is None else {"last-event-id": after}
        with self._http.stream("GET", f"{_job(job_id)}/events", headers=headers) as answer:
            if answer.status_code >= 400:
                answer.read()
                raise problem_error(answer)
            if answer.status_code == 204:
                raise _NoMoreEvents
            with self._checked():
                yield from filter(None, map(job_event, EventSource(answer).iter_sse()))

    def _as(self, kind: type[T], path: str, method: str = "GET", **options: Any) -> T:
        content = self._send(method, path, **options).content
        with self._checked():
            return TypeAdapter(kind).validate_json(content)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        return retried(lambda: self._once(method, path, **options), self._retry_s)

    def _once(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            request = self._http.build_request(method, path, **options)
        except (TypeError, ValueError) as error:  # NaN, half a surrogate pair, an object
            raise InvalidArgument(f"the request cannot be sent: {error}") from error
        try:
            answer = self._http.send(request)
        except httpx.HTTPError as error:
            raise ConnectionFailed(f"{shown(self._http.base_url)}: {_why(error)}") from error
        if answer.status_code >= 400:
            raise problem_error(answer)
        return answer

    @contextlib.contextmanager
    def _checked(self) -> Iterator[None]:
        """Refuse a response that no door gives."""
        try:
            yield
        except (ValueError, TypeError, AttributeError, KeyError, SSEError) as error:
            where = shown(self._http.base_url)
            raise UnexpectedResponse(f"what answers at {where} is not Sfumato") from error


class _NoMoreEvents(Exception):
    """The stream has been read to its end before."""


def job_event(event: ServerSentEvent) -> JobEvent | None:
    """Return a frame of the stream as a job's event, None if it is of a kind to come."""
    if event.event not in get_args(EventKind) or not event.data:
        return None
    data = orjson.loads(event.data)
    attempt = data.pop("attempt")
    known = event.id if _ID.fullmatch(event.id) else None
    return JobEvent(kind=event.event, id=known, attempt=attempt, data=data)


def _job(job_id: str) -> str:
    """Return a job's path; an id from elsewhere never leads to another one."""
    return "/v1/jobs/" + quote(job_id, safe="").replace(".", "%2E")


def _why(error: Exception) -> str:
    return str(error) or type(error).__name__
