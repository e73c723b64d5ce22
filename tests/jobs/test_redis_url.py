"""Every form of Redis' URL means the same to the store and to the queue, or stops the start."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from kombu import Connection
from redis import Redis
from redis.connection import parse_url
from redis.exceptions import RedisError

from jobs.errors import StartError
from jobs.queue import Doorbell, queue_name
from jobs.redis.connection import broker
from jobs.redis.store import RedisStore
from jobs.redis_url import redis_url, sentinel_url
from jobs.settings import JobsSettings, read_environment
from service.processes.redis_server import redis_command
from tests.conftest import Opened
from tests.jobs.examples import submit
from tests.processes import process, wait

PASSWORD = "p@ss:w/o;r%d ?#"
LOGIN = quote(PASSWORD, safe="")


def of_queue(url: str) -> dict[str, Any]:
    """Return where kombu would connect to."""
    address, options = broker(JobsSettings(redis_url=url))
    with Connection(address, transport_options=options) as connection:
        channel: Any = connection.transport.Channel
        channel = channel.__new__(channel)
        channel.connection = type("Transport", (), {"client": connection, "default_port": 6379})
        for name in ("max_connections", "socket_keepalive_options", "client_name"):
            setattr(channel, name, None)
        return dict(channel._connparams())


@pytest.mark.parametrize(
    ("url", "place", "db", "user", "password"),
    [
        ("redis://127.0.0.1:6379/0", ("127.0.0.1", 6379), 0, None, None),
        ("redis://redis", ("redis", 6379), 0, None, None),
        ("redis://redis/", ("redis", 6379), 0, None, None),
        ("redis:///3", ("localhost", 6379), 3, None, None),
        ("redis://redis:7?db=5", ("redis", 7), 5, None, None),
        ("REDIS://redis:7/5", ("redis", 7), 5, None, None),
        ("redis://[::1]:6380/2", ("::1", 6380), 2, None, None),
        (f"redis://:{LOGIN}@redis/1", ("redis", 6379), 1, None, PASSWORD),
        (f"redis://d%40r:{LOGIN}@redis:7/1", ("redis", 7), 1, "d@r", PASSWORD),
        ("redis://door@redis/1", ("redis", 6379), 1, "door", None),
        (f"rediss://door:{LOGIN}@redis:7/1", ("redis", 7), 1, "door", PASSWORD),
        ("unix:///run/redis.sock", "/run/redis.sock", 0, None, None),
        ("unix:///run/a%20b/redis.sock?db=4", "/run/a b/redis.sock", 4, None, None),
        (f"unix://door:{LOGIN}@/run/redis.sock?db=4", "/run/redis.sock", 4, "door", PASSWORD),
        (f"unix://:{LOGIN}@/run/redis.sock", "/run/redis.sock", 0, None, PASSWORD),
    ],
)  # fmt: skip
def test_store_and_queue_read_one_place_from_a_url(
    url: str, place: object, db: int, user: str | None, password: str | None
) -> None:
    of_store: Any = parse_url  # untyped
    for found in (of_store(redis_url(url).client()), of_queue(url)):
        where = found.get("path") or (found.get("host"), found.get("port", 6379))
        assert where == place
        assert found.get("db") == db
        assert (found.get("username"), found.get("password")) == (user, password)


def test_a_sentinels_login_and_ipv6_reach_the_queue() -> None:
    url = f"sentinel://door:{LOGIN}@[::1]:7,b/house/2"
    parsed = sentinel_url(url)
    assert parsed is not None
    assert parsed.login == {"username": "door", "password": PASSWORD}
    address, options = broker(JobsSettings(redis_url=url))
    with Connection(address, transport_options=options) as connection:
        assert (connection.hostname, connection.port) == ("::1", 7)
        assert (connection.userid, connection.password) == ("door", PASSWORD)
        assert connection.virtual_host == "2"
        assert len(connection.alt) == 2


@pytest.mark.parametrize(
    "url",
    [
        "nonsense", "", "http://redis:6379/0", "redis://redis:6379/nine", "redis://redis:6379/-1",
        "redis://redis:6379/0/1", "redis://redis:port/0", "redis://redis:99999/0",
        "redis://redis/0?protocol=3", "rediss://redis/0?ssl_cert_reqs=none", "redis://redis/0#a",
        "unix://run/redis.sock", "unix://", "unix:///", "unix:///run/redis.sock?db=x",
        "redis://:hunter2/x@redis/0", "redis://:hunter2#@redis/0", "redis://[::1/0",
        "sentinel://a:1/house/0?db=1", "sentinel://a:99999/house/0", "redis+socket:///run/r.sock",
    ],
)  # fmt: skip
def test_any_other_url_stops_the_start_by_name(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SFUMATO_REDIS_URL", url)
    with pytest.raises(StartError, match=r"SFUMATO_REDIS_URL: ") as stopped:
        read_environment(JobsSettings)
    assert "hunter2" not in str(stopped.value)


@pytest.fixture(scope="module")
def socket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Run a server that listens on a socket alone."""
    folder = tmp_path_factory.mktemp("socket")
    path = folder / "redis 1.sock"
    command = [*redis_command(folder, 0), "--unixsocket", str(path), "--requirepass", "p@ss;/"]
    with process(command, folder / "log"):
        with Redis(unix_socket_path=str(path), password="p@ss;/") as client:

            def answers() -> bool:
                with suppress(RedisError):  # the socket is there before anybody listens
                    return bool(client.ping())
                return False

            wait("Redis", answers)
        yield path


async def test_a_job_and_its_ring_go_through_a_socket(socket: Path, opened: Opened[Any]) -> None:
    url = f"unix://:p%40ss%3B%2F@{quote(str(socket))}?db=3"
    settings = JobsSettings(redis_url=url)
    store, doorbell = opened(RedisStore(settings)), opened(Doorbell(settings))
    await submit(store, "a")
    await doorbell.ring("toy", "a")
    assert await doorbell.waiting("toy") == 1
    with Redis(unix_socket_path=str(socket), password="p@ss;/", db=3) as client:
        assert client.llen(queue_name(settings, "toy")) == 1
        assert client.exists("{sfumato}:job:a") == 1
