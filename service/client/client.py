"""The client of a door; generated from ``async_client.py`` by ``tests.service.client.sync_half``.

with Sfumato() as sfumato:
    result = sfumato.generate("a red apple", num_inference_steps=20)
    result.images[0].save("apple.png")
"""

import time
from collections.abc import Generator
from contextlib import closing
from typing import Self, TypeVar, Unpack

import httpx

from . import routes
from .call import Call, reached
from .connection import open_connection
from .errors import ClientError, NotFound
from .events import JobEvent
from .following import BROKEN, Following
from .images import Image, Result, drawn
from .notebook import Watch, ignore, watching
from .retries import Retries
from .routes import Options
from .views import JobList, JobView, Manifest, ModelList, SamplerList, WorkerView

T = TypeVar("T")


class Sfumato:
    """Talks to one door. All methods raise :class:`ClientError`.

    Requests are retried for ``retry_s`` after connection errors, 429 and 5xx, waiting as long as
    the door asks; 0 turns this off. Retries are safe: a submission keeps its idempotency key.
    ``timeout_s`` bounds the wait for a connection and for each part of a response.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        api_key: str | None = None,
        timeout_s: float = 30.0,
        retry_s: float = 10.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Connect on first use, to ``SFUMATO_URL`` with ``SFUMATO_API_KEY`` unless given.

        Raises:
            InvalidArgument: the address or the key is unusable.
        """
        self._http = open_connection(
            httpx.Client, httpx.HTTPTransport, url, api_key, timeout_s, transport
        )
        self._retry_s = retry_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Release connections."""
        self._http.close()

    def generate(
        self,
        prompt: str,
        *,
        timeout_s: float | None = None,
        key: str | None = None,
        **options: Unpack[Options],
    ) -> Result:
        """Submit a job, wait for it and return its images; a notebook shows previews meanwhile.

        Raises:
            JobFailed: it ended without images.
            WaitTimeout: it has not ended in time; it continues.
        """
        job = self.submit(prompt, key=key, **options)
        job.wait(timeout_s)
        images = job.images()
        return Result(job.view, images)

    def submit(self, prompt: str, *, key: str | None = None, **options: Unpack[Options]) -> "Job":
        """Submit a job; ``options`` are the fields of ``POST /v1/jobs``.

        All attempts of a call share an idempotency key, so they create one job. Pass your own
        ``key`` to make repeating the call safe as well.
        """
        return Job(self, self._call(routes.submit(prompt, key, options)))

    def job(self, job_id: str) -> "Job":
        """Return a handle of an existing job. Raises: NotFound."""
        return Job(self, self.get(job_id))

    def get(self, job_id: str) -> JobView:
        """Return a job in its current state."""
        return self._call(routes.get(job_id))

    def jobs(
        self, *, status: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> JobList:
        """Return a page of jobs, newest first."""
        return self._call(routes.jobs(status, limit, cursor))

    def finish(self, job_id: str) -> JobView:
        """End a running job at its current step, with its estimates as its images."""
        return self._call(routes.finish(job_id))

    def cancel(self, job_id: str) -> JobView:
        """Cancel a job."""
        return self._call(routes.cancel(job_id))

    def delete(self, job_id: str) -> None:
        """Delete a job with its images."""
        self._call(routes.delete(job_id))

    def image(self, job_id: str, index: int = 0) -> bytes:
        """Return the bytes of a finished image."""
        return self._call(routes.image(job_id, index))

    def preview(self, job_id: str) -> bytes | None:
        """Return the bytes of the latest preview; None if there is none yet."""
        try:
            return self._call(routes.preview(job_id))
        except NotFound:
            return None

    def manifest(self, job_id: str) -> Manifest:
        """Return an ended job's manifest: how its images were made. Raises: Conflict."""
        return self._call(routes.manifest(job_id))

    def models(self) -> ModelList:
        """Return the models that workers have announced."""
        return self._call(routes.models())

    def samplers(self) -> SamplerList:
        """Return the samplers, each with the models that offer it."""
        return self._call(routes.samplers())

    def workers(self) -> list[WorkerView]:
        """Return the live workers."""
        return self._call(routes.workers())

    def ready(self) -> bool:
        """Return whether the door accepts jobs."""
        try:
            self._once(routes.ready())
        except ClientError:
            return False
        return True

    def wait(self, job_id: str, timeout_s: float | None = None, watch: Watch = ignore) -> JobView:
        """Return a job once it has ended; ``watch`` gets its events. Raises: WaitTimeout."""
        with closing(self.follow(job_id, timeout_s=timeout_s)) as events:
            for event in events:
                watch(event)
                if event.kind == "result":
                    return event.job
        return self.get(job_id)

    def follow(
        self, job_id: str, after: str | None = None, *, timeout_s: float | None = None
    ) -> Generator[JobEvent]:
        """Yield a job's events until its result; an interrupted stream resumes where it broke off.

        Raises:
            NotFound: the job does not exist, or has been deleted.
            StreamLost: the stream could not be resumed.
            WaitTimeout: the job has not ended in time; it continues.
        """
        reading = Following(job_id, after, timeout_s)
        while not reading.ended:
            try:
                with self._http.stream("GET", **reading.options(self._http)) as response:
                    if response.is_error:
                        response.read()
                    reading.opened(response)
                    for piece in response.iter_bytes():
                        yield from reading.events(response, piece)
                        if reading.ended:
                            return
            except BROKEN as error:
                pause_s = reading.pause_s(error)
            else:
                pause_s = reading.pause_s()
            time.sleep(pause_s)

    def _call(self, call: Call[T]) -> T:
        retries = Retries(self._retry_s)
        while True:
            try:
                return self._once(call)
            except ClientError as error:
                pause_s = retries.pause_s(error)
            time.sleep(pause_s)

    def _once(self, call: Call[T]) -> T:
        request = call.request(self._http)
        with reached(request):
            response = self._http.send(request)
        return call.result(response)


class Job:
    """A handle of a job; ``view`` is the job as last received."""

    def __init__(self, client: Sfumato, view: JobView) -> None:
        self._client, self.view = client, view

    def __repr__(self) -> str:
        return f"<Job {self.id}: {self.view.status}>"

    @property
    def id(self) -> str:
        """The job's id."""
        return self.view.id

    def events(self, after: str | None = None) -> Generator[JobEvent]:
        """Yield the job's events until its result, or those after the one with this id.

        Raises:
            StreamLost: the stream was interrupted and could not be resumed.
        """
        with closing(self._client.follow(self.id, after)) as events:
            for event in events:
                if event.kind == "status" or event.kind == "result":
                    self.view = event.job
                yield event

    def wait(self, timeout_s: float | None = None) -> JobView:
        """Return the job once it has ended; a notebook shows its previews. Raises: WaitTimeout."""
        self.view = self._client.wait(self.id, timeout_s, watching(self.view))
        return self.view

    def images(self) -> tuple[Image, ...]:
        """Wait for the job if need be, and return its images. Raises: JobFailed, Gone."""
        view = self.view if self.view.status.ended else self.wait()
        found = [Image(each, self._client.image(view.id, each.index)) for each in drawn(view)]
        return tuple(found)

    def finish(self) -> JobView:
        """End the job at its current step; its images are its estimates. Raises: Conflict."""
        self.view = self._client.finish(self.id)
        return self.view

    def cancel(self) -> JobView:
        """Cancel the job."""
        self.view = self._client.cancel(self.id)
        return self.view
