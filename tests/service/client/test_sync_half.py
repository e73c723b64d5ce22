"""The half without ``await`` is made from the one with it."""

from tests.service.client.sync_half import SYNC, sync_half


def test_the_sync_half_is_up_to_date() -> None:
    assert SYNC.read_text() == sync_half(), "run python -m tests.service.client.sync_half"
