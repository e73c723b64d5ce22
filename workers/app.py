"""The Celery application: ``celery -A workers.app worker -P threads``.

One process is one engine, so the pool must be ``threads``; any other is refused at start. The
concurrency follows ``SFUMATO_SLOTS``. Nothing is read or loaded until Celery asks for ``app``.
"""

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from time import monotonic
from typing import Any

import structlog
from celery import Celery, signals
from diffusers.utils import logging as diffusers_logging
from kombu import Exchange, Queue
from transformers.utils import logging as transformers_logging

from diffusion.bundle.bundle import Bundle
from diffusion.errors import BundleError
from diffusion.files import read_json
from jobs.errors import StartError
from jobs.queue import TASK, celery_app, queue_name
from jobs.redis.server import check_server
from jobs.settings import read_environment
from jobs.telemetry.logs import configure
from workers.host import SPARE_ANSWERS, WorkerHost
from workers.loading import load
from workers.runtime.consumer import RingConsumer
from workers.settings import WorkerSettings

log = structlog.get_logger()


@lru_cache(maxsize=1)
def settings() -> WorkerSettings:
    """Return this process' settings."""
    return read_environment(WorkerSettings)


def model_name(chosen: WorkerSettings) -> str:
    """Return the name of the model that the settings name, without loading it."""
    extra = chosen.model / "sfumato.json"
    try:
        named = read_json(extra).get("name") if extra.exists() else None
    except BundleError as error:
        raise StartError(str(error)) from error
    return chosen.model_name or str(named or chosen.model.absolute().name)


@lru_cache(maxsize=1)
def build() -> Celery:
    """Return the worker's Celery application, with its signals connected."""
    chosen = settings()
    queues = [queue_name(chosen, model_name(each)) for each in chosen.each]
    app = celery_app(chosen)
    app.conf.update(
        task_default_queue=queues[0],
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in queues],
        worker_consumer="workers.runtime.consumer:RingConsumer",
        worker_concurrency=len(queues) * (chosen.slots + SPARE_ANSWERS),
    )
    worker = WorkerProcess(chosen)
    worker.connect()

    @app.task(name=TASK, bind=True)  # type: ignore[untyped-decorator]
    def draw(task: Any, ring: str = "") -> None:
        worker.answer(ring, (task.request.delivery_info or {}).get("routing_key"))

    return app


class WorkerProcess:
    """Starts and stops the worker on Celery's signals."""

    def __init__(self, settings: WorkerSettings) -> None:
        self._settings = settings
        self._bundles: list[Bundle] = []
        self._load_s = 0.0
        self._hosts: list[WorkerHost] = []  # one while it runs
        self._consumers: list[RingConsumer] = []
        self._wanted: dict[str, bool] = {}  # queues of which rings are taken or not

    def connect(self) -> None:
        """Connect to the signals."""
        settings = self._settings
        signals.setup_logging.connect(lambda **_: set_up_logging(settings), weak=False)
        for signal, handler in (
            (signals.worker_init, self._prepare),
            (signals.celeryd_after_setup, self._start),
            (signals.worker_ready, self._ready),
            (signals.task_rejected, self._dropped),
            (signals.worker_shutting_down, self._drain),
            (signals.worker_shutdown, self._stop),
        ):
            signal.connect(handler, weak=False)

    def answer(self, ring: str, queue: str | None) -> None:
        """Answer a ring of a queue."""
        self._hosts[0].answer(ring, queue)

    def _prepare(self, sender: Any = None, **_: Any) -> None:
        set_up_logging(self._settings)
        pool = getattr(sender.pool_cls, "__module__", str(sender.pool_cls))
        if "thread" not in str(pool):
            raise StartError(f"a Sfumato worker runs with -P threads, not {pool}")
        check_server(self._settings)
        began = monotonic()
        with _refusing(self._settings):
            self._bundles.append(load(self._settings))
        self._load_s = monotonic() - began

    def _start(self, **_: Any) -> None:
        # Celery writes to the environment until here, which no other thread may read meanwhile.
        with _refusing(self._settings):
            host = WorkerHost(self._bundles.pop(), self._settings, self._listen, self._load_s)
        self._hosts.append(host)
        log.info("worker ready", **host.summary)

    def _ready(self, sender: RingConsumer, **_: Any) -> None:
        self._consumers.append(sender)
        for queue, wanted in list(self._wanted.items()):
            sender.listen(queue, wanted)

    def _listen(self, queue: str, wanted: bool) -> None:
        self._wanted[queue] = wanted
        for consumer in self._consumers:
            consumer.listen(queue, wanted)

    def _drain(self, **_: Any) -> None:
        for host in self._hosts:
            host.drain()

    def _stop(self, **_: Any) -> None:
        while self._hosts:
            self._hosts.pop().stop()

    def _dropped(self, **_: Any) -> None:
        for host in self._hosts:
            host.counters.dropped_messages.inc()


@contextlib.contextmanager
def _refusing(chosen: WorkerSettings) -> Iterator[None]:
    """End the process if it cannot serve: Celery only logs an error in a signal's handler."""
    try:
        yield
    except BundleError as error:
        raise StartError(f"{chosen.model}: {error}") from error
    except Exception as error:
        log.critical("the worker cannot start", exc_info=error)
        raise StartError(f"the worker cannot start: {error}") from error


def set_up_logging(chosen: WorkerSettings) -> None:
    """Log as the settings say; libraries log errors only."""
    configure(chosen.log_format, chosen.log_level)
    for library in (diffusers_logging, transformers_logging):
        library.set_verbosity_error()
        library.disable_progress_bar()


def __getattr__(name: str) -> Any:
    if name == "app":
        return build()
    raise AttributeError(name)
