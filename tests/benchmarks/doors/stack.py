"""The inside of a worker, in this process, on a real Redis, for measuring."""

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor

from diffusion.bundle.bundle import Bundle
from tests.benchmarks.own_redis import own_redis
from workers.engine.engine import Engine
from workers.host import WorkerHost
from workers.settings import WorkerSettings


class Inside:
    """A :class:`WorkerHost` whose rings are answered by threads of ours instead of Celery's."""

    def __init__(self, bundle: Bundle, settings: WorkerSettings) -> None:
        self.settings = settings
        self.host = WorkerHost(bundle, settings)
        self._threads = ThreadPoolExecutor(settings.slots + 4)

    @property
    def engine(self) -> Engine:
        """The engine of its model."""
        (served,) = self.host.served.values()
        return served.engine

    def answer(self, count: int) -> list[Future[None]]:
        """Answer so many rings at once; return their futures."""
        return [self._threads.submit(self.host.answer, "") for _ in range(count)]

    def close(self) -> None:
        """Stop everything."""
        self._threads.shutdown()
        self.host.stop()


@contextlib.contextmanager
def inside(bundle: Bundle, slots: int) -> Iterator[Inside]:
    """Run the inside of a worker on a Redis of its own."""
    with (
        own_redis() as (url, _),
        contextlib.closing(Inside(bundle, settings_of(url, slots))) as running,
    ):
        yield running


def settings_of(redis_url: str, slots: int) -> WorkerSettings:
    """Return the settings of a worker that calibrates, whatever was measured here before."""
    return WorkerSettings(redis_url=redis_url, slots=slots, cache=None)
