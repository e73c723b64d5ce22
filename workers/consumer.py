"""What reads the queue: Celery's consumer, made to outlive messages that are no rings.

Whoever may write to the broker can put anything on the queue, and other Celery applications may
share it. Celery drops some of what it does not know; of the rest it ends, and of what it can read
in part it connects anew. Here all of it is dropped, logged without its contents, and told with
Celery's own signal ``task_rejected``.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

import structlog
from celery import signals
from celery.worker.consumer import Consumer
from kombu.exceptions import ContentDisallowed, DecodeError
from kombu.transport.redis import Channel
from redis.exceptions import DataError

log = structlog.get_logger()
FOREIGN = (
    ArithmeticError, AttributeError, ContentDisallowed, DataError, DecodeError, LookupError,
    RecursionError, TypeError, ValueError,
)  # fmt: skip
"""What kombu and Celery raise when a message is not made as they expect."""


class RingConsumer(Consumer):  # type: ignore[misc]  # celery has no types
    """Hands rings to the pool and drops every other message."""

    def connect(self) -> Any:
        """Return a connection whose reading outlives what cannot be taken for a message.

        When it breaks, rings that were not acknowledged are not put back: kombu would do so over
        the connection that is broken, and end the worker. A sweep makes up for them.
        """
        Channel.do_restore = False
        connection = super().connect()
        poller = connection.transport.cycle
        poller.on_readable = self._outliving(poller.on_readable)
        return connection

    def _outliving(self, read: Callable[[int], None]) -> Callable[[int], None]:
        @wraps(read)
        def outliving(fileno: int) -> None:
            try:
                read(fileno)
            except FOREIGN as error:
                self._tell(None, error)

        return outliving

    def create_task_handler(self, *args: Any, **kwargs: Any) -> Callable[[Any], None]:
        """Return what is called with each message."""
        handle = super().create_task_handler(*args, **kwargs)

        def outliving(message: Any) -> None:
            message.ack_log_error = self._settling(message.ack_log_error)
            message.reject_log_error = self._settling(message.reject_log_error)
            try:
                handle(message)
            except FOREIGN as error:
                self._drop(message, error)

        return outliving

    def _settling(self, settle: Callable[..., None]) -> Callable[..., None]:
        """Return the call, outliving that the message's connection has been replaced meanwhile.

        kombu's closed channel has none, and raises as if that were a mistake of ours.
        """

        @wraps(settle)
        def outliving(*args: Any, **kwargs: Any) -> None:
            try:
                settle(*args, **kwargs)
            except AttributeError as error:
                log.info("a ring came by a connection that is gone", reason=repr(error)[:200])

        return outliving

    def on_unknown_message(self, body: Any, message: Any) -> None:
        """Drop a message that names no task."""
        self._drop(message, ValueError("it names no task"))

    def on_unknown_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Drop another application's task."""
        self._drop(message, ValueError(f"no task of ours: {exc}"))

    def on_invalid_task(self, body: Any, message: Any, exc: Exception) -> None:
        """Drop a task of ours that is not made as Celery makes them."""
        self._drop(message, exc)

    def on_decode_error(self, message: Any, exc: Exception) -> None:
        """Drop a message whose body cannot be read."""
        self._drop(message, exc)

    def _drop(self, message: Any, error: Exception) -> None:
        if not message.acknowledged:
            message.reject_log_error(log, self.connection_errors)
        self._tell(message, error)

    def _tell(self, message: Any, error: Exception) -> None:
        log.warning("a message that is no ring was dropped", reason=repr(error)[:200])
        signals.task_rejected.send(sender=self, message=message, exc=error)
