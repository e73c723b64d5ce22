"""What becomes of a ring whose connection was replaced while its job was drawn."""

from typing import Any

import pytest
from kombu import Connection
from kombu.transport.redis import Channel

from workers.consumer import RingConsumer


@pytest.fixture
def orphan(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Take a message from the broker over a connection that is closed then, as a worker's is."""
    monkeypatch.setattr(Channel, "do_restore", False)
    with Connection(redis_url) as connection, connection.SimpleQueue("orphans") as queue:
        queue.put("ring")
        return queue.get(timeout=5)


def test_an_acknowledgement_to_a_closed_channel_ends_no_worker(orphan: Any) -> None:
    consumer = RingConsumer.__new__(RingConsumer)
    with pytest.raises(AttributeError):
        orphan.ack_log_error(None, ())
    consumer._settling(orphan.ack_log_error)(None, ())


def test_a_connection_that_breaks_is_celerys_to_mend() -> None:
    def refuse() -> None:
        raise OSError("the connection broke just now")

    with pytest.raises(OSError, match="just now"):
        RingConsumer.__new__(RingConsumer)._settling(refuse)()
