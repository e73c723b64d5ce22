"""Celery's consumer of a model's queue, made to survive a broker's outage and foreign messages.

What is not JSON or names no task of ours is dropped, logged without its contents and announced with
Celery's own signal ``task_rejected``.
"""

from collections.abc import Callable
from functools import wraps
from json import JSONDecodeError
from typing import Any

import structlog
from celery import signals
from celery.worker.consumer import Consumer
from kombu.transport.redis import Channel

log = structlog.get_logger()
NOT_JSON = (JSONDecodeError, UnicodeDecodeError)
"""What kombu raises while it reads a list entry that is not JSON. The entry is gone by then."""


class RingConsumer(Consumer):  # type: ignore[misc]  # celery has no types
    """Hands rings to the pool and drops every other message."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.channel_errors += NOT_JSON  # after which Celery reconnects instead of ending

    def connect(self) -> Any:
        """Return a connection that does not restore unacknowledged rings when it breaks.

        kombu would restore them over the broken connection and end the worker. The sweep makes up
        for them.
        """
        Channel.do_restore = False
        return super().connect()

    def listen(self, queue: str, wanted: bool) -> None:
        """Take rings from a queue, or leave them to other workers. Thread-safe."""
        self.call_soon(self.add_task_queue if wanted else self.cancel_task_queue, queue)

    def on_connection_error_after_connected(self, exc: Exception) -> None:
        """Count an entry that is not JSON before Celery reconnects."""
        if isinstance(exc, NOT_JSON):
            self._announce(None, exc)
        super().on_connection_error_after_connected(exc)

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Return the function that is called with each message."""
        handle = super().create_task_handler(*args, **kwargs)

        def handle_ring(message: Any) -> None:
            message.ack_log_error = surviving_reconnection(message.ack_log_error)
            message.reject_log_error = surviving_reconnection(message.reject_log_error)
            handle(message)

        return handle_ring

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Drop a message that names no task."""
        self._drop(message, ValueError("it names no task"))

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Drop another application's task."""
        self._drop(message, exc)

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Drop a task of ours that Celery did not make."""
        self._drop(message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Drop a message whose body cannot be decoded."""
        self._drop(message, exc)

    def _drop(self, message: Any, error: Exception) -> None:
        message.reject_log_error(log, self.connection_errors)
        self._announce(message, error)

    def _announce(self, message: Any, error: Exception) -> None:
        log.warning("foreign message dropped", reason=repr(error)[:200])
        signals.task_rejected.send(sender=self, message=message, exc=error)


def surviving_reconnection(settle: Callable[..., None]) -> Callable[..., None]:
    """Return an acknowledgement that does nothing once its message's connection is replaced.

    A closed channel of kombu's has no connection and raises an AttributeError.
    """

    @wraps(settle)
    def settle_if_connected(*args: Any, **kwargs: Any) -> None:
        try:
            settle(*args, **kwargs)
        except AttributeError as error:
            log.info("the connection of a ring was replaced", reason=repr(error)[:200])

    return settle_if_connected
