"""What becomes of a ring whose connection was replaced while its job was drawn."""

from types import SimpleNamespace
from typing import Any

import pytest

from workers.consumer import RingConsumer


def test_an_acknowledgement_to_a_closed_channel_ends_no_worker() -> None:
    closed = SimpleNamespace(connection=None)

    def acknowledge(*_: Any) -> None:
        closed.connection.client  # noqa: B018

    def refuse(*_: Any) -> None:
        raise OSError("the connection broke just now")

    consumer = RingConsumer.__new__(RingConsumer)
    consumer._settling(acknowledge)("log", (OSError,))
    with pytest.raises(OSError, match="just now"):
        consumer._settling(refuse)()
