"""The client of a door, for asyncio; ``client.py`` is generated from it, without ``await``.

async with AsyncSfumato() as sfumato:
    result = await sfumato.generate("a red apple", num_inference_steps=20)
    result.images[0].save("apple.png")
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
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


class AsyncSfumato:
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
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Connect on first use, to ``SFUMATO_URL`` with ``SFUMATO_API_KEY`` unless given.

        Raises:
            InvalidArgument: the address or the key is unusable.
        """
        self._http = open_connection(
            httpx.AsyncClient, httpx.AsyncHTTPTransport, url, api_key, timeout_s, transport
        )
        self._retry_s = retry_s

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Release connections."""
        await self._http.aclose()

    async def generate(
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
        job = await self.submit(prompt, key=key, **options)
        await job.wait(timeout_s)
        images = await job.images()
        return Result(job.view, images)

    async def submit(
        self, prompt: str, *, key: str | None = None, **options: Unpack[Options]
    ) -> "AsyncJob":
        """Submit a job; ``options`` are the fields of ``POST /v1/jobs``.

        All attempts of a call share an idempotency key, so they create one job. Pass your own
        ``key`` to make repeating the call safe as well.
        """
        return AsyncJob(self, await self._call(routes.submit(prompt, key, options)))

    async def job(self, job_id: str) -> "AsyncJob":
        """Return a handle of an existing job. Raises: NotFound."""
        return AsyncJob(self, await self.get(job_id))

    async def get(self, job_id: str) -> JobView:
        """Return a job in its current state."""
        return await self._call(routes.get(job_id))

    async def jobs(
        self, *, status: str | None = None, limit: int = 20, cursor: str | None = None
    ) -> JobList:
        """Return a page of jobs, newest first."""
        return await self._call(routes.jobs(status, limit, cursor))

    async def finish(self, job_id: str) -> JobView:
        """End a running job at its current step, with its estimates as its images."""
        return await self._call(routes.finish(job_id))

    async def cancel(self, job_id: str) -> JobView:
        """Cancel a job."""
        return await self._call(routes.cancel(job_id))

    async def delete(self, job_id: str) -> None:
        """Delete a job with its images."""
        await self._call(routes.delete(job_id))

    async def image(self, job_id: str, index: int = 0) -> bytes:
        """Return the bytes of a finished image."""
        return await self._call(routes.image(job_id, index))

    async def preview(self, job_id: str) -> bytes | None:
        """Return the bytes of the latest preview; None if there is none yet."""
        try:
            return await self._call(routes.preview(job_id))
        except NotFound:
            return None

    async def manifest(self, job_id: str) -> Manifest:
        """Return an ended job's manifest: how its images were made. Raises: Conflict."""
        return await self._call(routes.manifest(job_id))

    async def models(self) -> ModelList:
        """Return the models that workers have announced."""
        return await self._call(routes.models())

    async def samplers(self) -> SamplerList:
        """Return the samplers, each with the models that offer it."""
        return await self._call(routes.samplers())

    async def workers(self) -> list[WorkerView]:
        """Return the live workers."""
        return await self._call(routes.workers())

    async def ready(self) -> bool:
        """Return whether the door accepts jobs."""
        try:
            await self._once(routes.ready())
        except ClientError:
            return False
        return True

    async def wait(
        self, job_id: str, timeout_s: float | None = None, watch: Watch = ignore
    ) -> JobView:
        """Return a job once it has ended; ``watch`` gets its events. Raises: WaitTimeout."""
        async with aclosing(self.follow(job_id, timeout_s=timeout_s)) as events:
            async for event in events:
                watch(event)
                if event.kind == "result":
                    return event.job
        return await self.get(job_id)

    async def follow(
        self, job_id: str, after: str | None = None, *, timeout_s: float | None = None
    ) -> AsyncGenerator[JobEvent]:
        """Yield a job's events until its result; an interrupted stream resumes where it broke off.

        Raises:
            NotFound: the job does not exist, or has been deleted.
            StreamLost: the stream could not be resumed.
            WaitTimeout: the job has not ended in time; it continues.
        """
        reading = Following(job_id, after, timeout_s)
        while not reading.ended:
            try:
                async with self._http.stream("GET", **reading.options(self._http)) as response:
                    if response.is_error:
                        await response.aread()
                    reading.opened(response)
                    async for piece in response.aiter_bytes():
                        for event in reading.events(response, piece):
                            yield event
                        if reading.ended:
                            return
            except BROKEN as error:
                pause_s = reading.pause_s(error)
            else:
                pause_s = reading.pause_s()
            await asyncio.sleep(pause_s)

    async def _call(self, call: Call[T]) -> T:
        retries = Retries(self._retry_s)
        while True:
            try:
                return await self._once(call)
            except ClientError as error:
                pause_s = retries.pause_s(error)
            await asyncio.sleep(pause_s)

    async def _once(self, call: Call[T]) -> T:
        request = call.request(self._http)
        with reached(request):
            response = await self._http.send(request)
        return call.result(response)


class AsyncJob:
    """A handle of a job; ``view`` is the job as last received."""

    def __init__(self, client: AsyncSfumato, view: JobView) -> None:
        self._client, self.view = client, view

    def __repr__(self) -> str:
        return f"<AsyncJob {self.id}: {self.view.status}>"

    @property
    def id(self) -> str:
        """The job's id."""
        return self.view.id

    async def events(self, after: str | None = None) -> AsyncGenerator[JobEvent]:
        """Yield the job's events until its result, or those after the one with this id.

        Raises:
            StreamLost: the stream was interrupted and could not be resumed.
        """
        async with aclosing(self._client.follow(self.id, after)) as events:
            async for event in events:
                if event.kind == "status" or event.kind == "result":
                    self.view = event.job
                yield event

    async def wait(self, timeout_s: float | None = None) -> JobView:
        """Return the job once it has ended; a notebook shows its previews. Raises: WaitTimeout."""
        self.view = await self._client.wait(self.id, timeout_s, watching(self.view))
        return self.view

    async def images(self) -> tuple[Image, ...]:
        """Wait for the job if need be, and return its images. Raises: JobFailed, Gone."""
        view = self.view if self.view.status.ended else await self.wait()
        found = [Image(each, await self._client.image(view.id, each.index)) for each in drawn(view)]
        return tuple(found)

    async def finish(self) -> JobView:
        """End the job at its current step; its images are its estimates. Raises: Conflict."""
        self.view = await self._client.finish(self.id)
        return self.view

    async def cancel(self) -> JobView:
        """Cancel the job."""
        self.view = await self._client.cancel(self.id)
        return self.view
