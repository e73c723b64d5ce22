"""Background threads, and how Ctrl-C ends their jobs."""

from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager, suppress
from threading import Thread
from typing import Any, TypeVar

from service.cli.shared.terminal import print_error
from service.client.client import Sfumato
from service.client.errors import ClientError
from service.client.views import JobStatus, JobView

T = TypeVar("T")

LAST_CALLS_S = 5.0
"""For which an interrupted command waits for answers that are on their way."""


def in_background(work: Callable[[], T]) -> Future[T]:
    """Run the work in a daemon thread, which does not keep the process alive; return its future."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, daemon=True).start()
    return future


@contextmanager
def canceled_on_interrupt(client: Sfumato, ids: Collection[str]) -> Iterator[None]:
    """Cancel these jobs if Ctrl-C arrives in the block, which may add more of them."""
    try:
        yield
    except KeyboardInterrupt:
        asked = tuple(ids)
        ended = sum(_canceled(client, job_id) for job_id in asked)
        print_error(f"interrupted; {ended} of {len(asked)} jobs canceled")
        raise


def submitted(client: Sfumato, ids: list[str], request: dict[str, Any]) -> JobView:
    """Submit a job and add its id, also if Ctrl-C arrives before the answer does.

    Raises:
        ClientError: it was refused, or the door went away.
    """

    def send() -> JobView:
        job = client.submit(**request).view
        ids.append(job.id)
        return job

    sending = in_background(send)
    try:
        return sending.result()
    except KeyboardInterrupt:
        wait([sending], LAST_CALLS_S)
        raise


def _canceled(client: Sfumato, job_id: str) -> bool:
    with suppress(ClientError):
        return client.cancel(job_id).status is JobStatus.CANCELED
    return False
