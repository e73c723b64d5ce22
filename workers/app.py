"""The Celery application: ``celery -A workers.app worker -P threads``.

One process is one engine, so the pool must be ``threads``; any other is refused at start. The
concurrency follows ``SFUMATO_SLOTS``. Nothing is read or loaded until Celery asks for ``app``.
"""

import contextlib
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import structlog
from celery import Celery, signals
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from diffusion.bundle.bundle import Bundle
from diffusion.errors import BundleError
from diffusion.files import read_json
from jobs.errors import StartError
from jobs.queue import TASK, celery_app, queue_name
from jobs.redis.server import check_server
from jobs.settings import read_environment
from jobs.telemetry.logs import configure
from workers.host import WorkerHost, load
from workers.settings import WorkerSettings

log = structlog.get_logger()
SPARE_THREADS = 4
"""Tasks that wait for a slot while the last images of others are being written."""


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
    queue = queue_name(chosen, model_name(chosen))
    app = celery_app(chosen)
    app.conf.update(
        task_default_queue=queue,
        worker_consumer="workers.runtime.consumer:RingConsumer",
        worker_concurrency=chosen.slots + SPARE_THREADS,
    )
    host: list[WorkerHost] = []

    @app.task(name=TASK)  # type: ignore[untyped-decorator]
    def draw(ring: str = "") -> None:
        host[0].answer(ring)

    connect(host, chosen)
    return app


def connect(host: list[WorkerHost], chosen: WorkerSettings) -> None:
    """Start and stop the worker on Celery's signals; ``host`` holds it while it runs."""
    bundles: list[Bundle] = []

    def prepare(sender: Any = None, **_: Any) -> None:
        set_up_logging(chosen)
        pool = getattr(sender.pool_cls, "__module__", str(sender.pool_cls))
        if "thread" not in str(pool):
            raise StartError(f"a Sfumato worker runs with -P threads, not {pool}")
        check_server(chosen)
        with _refusing(chosen):
            bundles.append(load(chosen))

    def start(**_: Any) -> None:
        # Celery writes to the environment until here, which no other thread may read meanwhile.
        bundle = bundles.pop()
        with _refusing(chosen):
            host.append(WorkerHost(bundle, chosen))
        log.info(
            "worker ready",
            model=bundle.info.name,
            backend=bundle.backbone.name,
            device=str(bundle.device),
            slots=chosen.slots,
        )

    def drain(**_: Any) -> None:
        for running in host:
            running.drain()

    def stop(**_: Any) -> None:
        while host:
            host.pop().stop()

    def dropped(**_: Any) -> None:
        for running in host:
            running.counters.dropped_messages.inc()

    signals.setup_logging.connect(lambda **_: set_up_logging(chosen), weak=False)
    signals.worker_init.connect(prepare, weak=False)
    signals.celeryd_after_setup.connect(start, weak=False)
    signals.task_rejected.connect(dropped, weak=False)
    signals.worker_shutting_down.connect(drain, weak=False)
    signals.worker_shutdown.connect(stop, weak=False)


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
