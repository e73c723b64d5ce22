"""The doorbell: one Celery queue per model, whose messages only announce that there is work.

Nothing outside this file knows that a queue is a Redis list.
"""

import asyncio
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from celery import Celery
from kombu.connection import ConnectionPool
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from jobs.errors import StartError, StoreUnavailable
from jobs.redis.connection import broker, broker_tls, connect_blocking
from jobs.settings import JobsSettings

TASK = "sfumato.draw"
FOREIGN_BROKERS = ("CELERY_BROKER_URL", "CELERY_BROKER_READ_URL", "CELERY_BROKER_WRITE_URL")
THREADS = 4
T = TypeVar("T")


def queue_name(settings: JobsSettings, model: str) -> str:
    """Return the queue that a model's workers listen on."""
    return f"{settings.key_prefix}.{model}"


def celery_app(settings: JobsSettings) -> Celery:
    """Return a Celery application with the options that the job contract requires.

    Raises:
        StartError: a variable of Celery's would send the queue to another server.
    """
    for name in FOREIGN_BROKERS:
        if os.environ.get(name):  # Celery prefers these to the URL that it is given
            raise StartError(f"{name} must not be set: the queue is in SFUMATO_REDIS_URL")
    url, transport = broker(settings)
    app = Celery("sfumato", broker=url)
    app.conf.update(
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=False,  # the store redelivers, not the broker
        task_default_queue=f"{settings.key_prefix}.default",
        task_create_missing_queues=True,
        worker_pool="threads",
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_send_task_events=False,
        broker_use_ssl=broker_tls(settings),
        broker_connection_retry=True,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,  # Redis refuses writes: out of memory, disk full, failover
        broker_transport_options=transport
        | {
            "socket_keepalive": True,
            "max_retries": 2,
            "interval_start": 0.0,
            "interval_step": 0.1,
            "interval_max": 0.3,
        },
    )
    return app


class Doorbell:
    """Rings a model's queue and counts the rings that wait in it."""

    def __init__(self, settings: JobsSettings) -> None:
        self._settings = settings
        self._app = celery_app(settings)
        self._connections: ConnectionPool = self._app.connection_for_write().Pool(THREADS)
        self._redis = connect_blocking(settings)
        self._threads = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="doorbell")

    async def ring(self, model: str, job_id: str) -> None:
        """Ring once; the id is only for tracing.

        Raises:
            StoreUnavailable: the broker does not answer; a sweep will replace the ring.
        """
        await self._run(lambda: self._send(model, job_id))

    def _send(self, model: str, job_id: str) -> None:
        with self._connections.acquire(block=True) as connection:
            self._app.send_task(
                TASK,
                args=[job_id],
                queue=queue_name(self._settings, model),
                connection=connection,
                retry=False,
                ignore_result=True,
            )

    async def waiting(self, model: str) -> int:
        """Return how many rings wait in the model's queue."""
        return await self._run(lambda: self._length(model))

    def _length(self, model: str) -> int:
        length: Any = self._redis.llen(queue_name(self._settings, model))
        return int(length)

    async def drop(self, model: str, count: int) -> None:
        """Drop the oldest rings; a ring is as good as any other."""
        name = queue_name(self._settings, model)
        await self._run(lambda: self._redis.ltrim(name, 0, -1 - count))

    async def _run(self, call: Callable[[], T]) -> T:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, call)
        except (OperationalError, RedisError, OSError) as error:
            raise StoreUnavailable(f"the broker does not answer: {error}") from error

    def close(self) -> None:
        """Release connections and threads."""
        self._threads.shutdown(wait=True)
        self._connections.force_close_all()
        self._app.close()
        self._redis.close()
