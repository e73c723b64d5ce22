"""A worker's inside, in this process, on a real Redis, for measuring."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

from diffusion.bundle.bundle import Bundle
from jobs.catalogue import resolve, units
from jobs.redis.store import RedisStore
from jobs.schema import JobRequest
from jobs.settings import JobsSettings
from tests.redis_server import redis_server
from workers.host import WorkerHost
from workers.runtime.catalogue import model_entry
from workers.settings import WorkerSettings


class Loop:
    """An event loop in a thread, for calls from a benchmark's own thread."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: object) -> object:
        """Run a coroutine to its end."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result()  # type: ignore[arg-type]

    def close(self) -> None:
        """End the thread."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()


class Inside:
    """A :class:`WorkerHost` whose rings are answered by threads of ours instead of Celery's."""

    def __init__(self, bundle: Bundle, settings: WorkerSettings) -> None:
        self.bundle = bundle
        self.settings = settings
        self.host = WorkerHost(bundle, settings)
        self._loop = Loop()
        self._store = RedisStore(JobsSettings(redis_url=settings.redis_url))
        self._entry = model_entry(bundle.info)
        self._threads = ThreadPoolExecutor(settings.slots + 4)
        self._count = 0

    def submit(self, requests: list[JobRequest]) -> list[str]:
        """Store jobs, without a ring."""
        return self._loop.run(self._submit(requests))  # type: ignore[return-value]

    async def _submit(self, requests: list[JobRequest]) -> list[str]:
        names = []
        for request in requests:
            spec = resolve(request, self._entry)
            self._count += 1
            names.append(f"bench{self._count}")
            await self._store.create(names[-1], spec, units(spec, self._entry))
        return names

    def pending(self) -> int:
        """Return how many jobs wait or run."""
        return self._loop.run(self._pending())  # type: ignore[return-value]

    async def _pending(self) -> int:
        backlog = await self._store.backlog(self._entry.name)
        return backlog.pending_jobs + backlog.running_jobs

    def answer(self, count: int) -> list[Future[None]]:
        """Answer so many rings at once; return their futures."""
        return [self._threads.submit(self.host.answer, "") for _ in range(count)]

    def close(self) -> None:
        """Stop everything."""
        self._threads.shutdown()
        self.host.stop()
        self._loop.run(self._store.close())
        self._loop.close()


@contextlib.contextmanager
def inside(bundle: Bundle, **options: object) -> Iterator[Inside]:
    """Run a worker's inside on a Redis of its own."""
    with TemporaryDirectory() as folder, redis_server(Path(folder)) as url:
        settings = WorkerSettings(redis_url=url, **options)  # type: ignore[arg-type]
        running = Inside(bundle, settings)
        try:
            yield running
        finally:
            running.close()
