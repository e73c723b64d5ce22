"""Rings whose connection was replaced before they were acknowledged."""

from typing import Any

import pytest
from kombu import Connection
from kombu.transport.redis import Channel

from tests.processes import PATIENCE_S
from workers.runtime.consumer import surviving_reconnection


@pytest.fixture
def orphan(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a message whose connection to the broker has been closed."""
    monkeypatch.setattr(Channel, "do_restore", False)
    with Connection(redis_url) as connection, connection.SimpleQueue("orphans") as queue:
        queue.put("ring")
        return queue.get(timeout=PATIENCE_S)


def test_an_acknowledgement_to_a_closed_channel_is_ignored(orphan: Any) -> None:
    with pytest.raises(AttributeError):
        orphan.ack_log_error(None, ())
    surviving_reconnection(orphan.ack_log_error)(None, ())


def test_a_broken_connection_is_left_to_celery() -> None:
    def refuse() -> None:
        raise OSError("the connection broke just now")

    with pytest.raises(OSError, match="just now"):
        surviving_reconnection(refuse)()
