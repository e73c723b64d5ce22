"""``sfumato models forget`` on entries of the catalogue that cannot be read."""

import os
from typing import Any

import pytest

from tests.service.conftest import Command


@pytest.mark.parametrize("name", [b"broken", b"\xff\xfe", "ü".encode(), b"a b"])
def test_an_entry_that_cannot_be_read_is_forgotten(
    command: Command, redis: Any, prefix: str, name: bytes
) -> None:
    redis.hset(f"{prefix}:models", name, "{")
    redis.hset(f"{prefix}:models", "other", "{")
    command("models", "forget", os.fsdecode(name))
    assert redis.hkeys(f"{prefix}:models") == [b"other"]
    again = command("models", "forget", os.fsdecode(name), code=1).output
    assert "there is no model" in again
    assert len(again.splitlines()) == 1
