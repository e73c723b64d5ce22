"""A Python client: submit a prompt, follow the job, fetch its images.

with Client("http://127.0.0.1:8000") as client:
    job = client.submit("a red apple", num_inference_steps=20)
    for event in client.follow(job.id):
        print(event.kind, event.data)
    data = client.image(job.id)
"""

import base64
import contextlib
import time
import uuid
from collections.abc import Iterator
from typing import Any, Literal, Self, TypeVar, cast

import httpx
import orjson
from pydantic import TypeAdapter

from service.client.errors import (
    ConnectionFailed,
    NotFound,
    ServiceUnavailable,
    StreamLost,
    problem_error,
)
from service.resources.representations import (
    JobList,
    JobView,
    ModelList,
    SamplerList,
    View,
    WorkerView,
)

T = TypeVar("T")
EventKind = Literal["status", "progress", "preview", "result"]
PAUSES_S = (0.2, 0.5, 1.0, 2.0, 4.0, 8.0)
"""Before each attempt to resume a stream: a door takes a while to restart."""


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
    """Talks to one door. All methods raise :class:`service.client.errors.ClientError`."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        headers = {} if api_key is None else {"authorization": f"Bearer {api_key}"}
        self._http = httpx.Client(
            base_url=url, headers=headers, timeout=timeout_s, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release connections."""
        self._http.close()

    def submit(self, prompt: str, *, key: str | None = None, **fields: Any) -> JobView:
        """Submit a job; ``fields`` are those of ``POST /v1/jobs``.

        Each call has an idempotency key: repeat it with the same ``key`` to get the same job.
        """
        body = {"prompt": prompt} | {k: v for k, v in fields.items() if v is not None}
        headers = {"idempotency-key": f'"{key or uuid.uuid4()}"'}
        return self._as(JobView, "/v1/jobs", "POST", json=body, headers=headers)

    def get(self, job_id: str) -> JobView:
        """Return a job."""
        return self._as(JobView, f"/v1/jobs/{job_id}")

    def jobs(
        self, *, status: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> JobList:
        """Return a page of jobs, newest first."""
        given = {"status": status, "limit": limit, "cursor": cursor}
        params = {name: value for name, value in given.items() if value is not None}
        return self._as(JobList, "/v1/jobs", params=params)

    def cancel(self, job_id: str) -> JobView:
        """Cancel a job."""
        return self._as(JobView, f"/v1/jobs/{job_id}/cancel", "POST")

    def delete(self, job_id: str) -> None:
        """Delete a job with its images."""
        self._send("DELETE", f"/v1/jobs/{job_id}")

    def image(self, job_id: str, index: int = 0) -> bytes:
        """Return the bytes of a finished image."""
        return self._send("GET", f"/v1/jobs/{job_id}/images/{index}").content

    def preview(self, job_id: str) -> bytes | None:
        """Return the bytes of the latest preview, None if there is none yet."""
        try:
            return self._send("GET", f"/v1/jobs/{job_id}/preview").content
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
            return self._http.get("/readyz").status_code == 200
        except httpx.HTTPError:
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
                with self._open(job_id, after) as answer:
                    if answer.status_code == 204:  # no more events
                        return
                    for event in parse(answer.iter_lines()):
                        failures = 0
                        after = event.id or after
                        yield event
                        if event.kind == "result":
                            return
            except (httpx.HTTPError, ServiceUnavailable) as error:
                if failures == len(PAUSES_S):
                    raise StreamLost(f"lost the events of job {job_id}: {error}") from error
                time.sleep(PAUSES_S[failures])
                failures += 1
            else:
                time.sleep(PAUSES_S[0])  # the door closed the stream: let it or another one start

    @contextlib.contextmanager
    def _open(self, job_id: str, after: str | None) -> Iterator[httpx.Response]:
        headers = {} if after is None else {"last-event-id": after}
        path = f"/v1/jobs/{job_id}/events"
        with self._http.stream("GET", path, headers=headers) as answer:
            if answer.status_code >= 400:
                answer.read()
                raise problem_error(answer)
            yield answer

    def _as(self, kind: type[T], path: str, method: str = "GET", **options: Any) -> T:
        content = self._send(method, path, **options).content
        return TypeAdapter(kind).validate_json(content)

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.HTTPError as error:
            raise ConnectionFailed(f"{self._http.base_url}: {error}") from error
        if answer.status_code >= 400:
            raise problem_error(answer)
        return answer


def parse(lines: Iterator[str]) -> Iterator[JobEvent]:
    """Yield the events in the lines of a stream."""
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif not line and "data" in fields:
            data = orjson.loads(fields["data"])
            kind = cast(EventKind, fields.get("event", "status"))
            yield JobEvent(kind=kind, id=fields.get("id"), attempt=data.pop("attempt"), data=data)
            fields = {}
