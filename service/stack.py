"""The whole service on one machine: Redis, workers and the door, each a supervised process."""

import contextlib
import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

from service.client import Client
from service.client_errors import ClientError
from service.redis_server import free_port, redis_command, wait_ready
from service.stack_secrets import (
    OPERATOR_KEY,
    REDIS_URL,
    keys_wanted,
    operator_key,
    url_secret,
    write_private,
)
from service.supervisor import Child, Supervisor

Door = Literal["serve", "uvicorn"]
START_LIMIT_S = 180.0


class StackError(RuntimeError):
    """The stack cannot be started as asked."""


@dataclass(frozen=True)
class StackOptions:
    """What ``sfumato up`` is told."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8000  # 0: any free one
    workers: int = 1
    slots: int = 16
    door: Door = "serve"


@dataclass(frozen=True)
class Stack:
    """A stack that is ready."""

    url: str
    supervisor: Supervisor
    api_key: str | None = None  # an operator's, where the door asks for keys


@contextlib.contextmanager
def running(options: StackOptions, tell: Callable[[str], None]) -> Iterator[Stack]:
    """Start the stack, yield it once a job would succeed, and stop it with the block.

    Raises:
        StackError: the port is taken, or another stack uses the data folder.
        ChildFailed: a part ended while starting.
        TimeoutError: it was not ready in time.
    """
    port = options.port or free_port()
    check_free(options.host, port)
    options.data.mkdir(parents=True, exist_ok=True)
    with locked(options.data):
        supervisor = Supervisor(tell)
        since = time.time()
        try:
            url = f"http://{options.host}:{port}"
            redis_url = _start(options, port, supervisor)
            write_private(options.data / REDIS_URL, redis_url)
            api_key = None
            if keys_wanted():
                api_key = operator_key(options.data, redis_url)
                tell(f"the door asks for keys; yours is in {options.data / OPERATOR_KEY}")
            wait_until_ready(url, supervisor, options.workers, since, api_key)
            yield Stack(url, supervisor, api_key)
        finally:
            supervisor.stop()


def check_free(host: str, port: int) -> None:
    """Check that nobody listens on the port yet. Raises: StackError."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StackError(f"cannot listen on {host}:{port}: {error.strerror}") from error


@contextlib.contextmanager
def locked(data: Path) -> Iterator[IO[str]]:
    """Hold the data folder for this process. Raises: StackError when another stack holds it."""
    with (data / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StackError(f"another stack uses {data}; name another with --data") from error
        yield file


def _start(options: StackOptions, port: int, supervisor: Supervisor) -> str:
    env = dict(os.environ) | {"PYTHONUNBUFFERED": "1"}
    logs = options.data / "logs"
    redis_url = _redis(options, env, logs, supervisor)
    env["SFUMATO_REDIS_URL"] = redis_url
    env.setdefault("SFUMATO_LOG_FORMAT", "json")
    if keys_wanted():
        env.setdefault("SFUMATO_URL_SECRETS", url_secret(options.data))
    python = sys.executable
    door_module = "service.serve_door" if options.door == "serve" else "service.uvicorn_door"
    worker_env = env | {"SFUMATO_SLOTS": str(options.slots)}
    # A thread that spins while it waits for a busy core makes torch many times slower.
    worker_env.setdefault("OMP_WAIT_POLICY", "passive")
    worker_env.setdefault("SFUMATO_THREADS", str(threads(options.workers)))
    for number in range(1, options.workers + 1):
        name = f"worker-{number}"
        command = [python, "-m", "celery", "-q", "-A", "workers.app", "worker", "-P", "threads"]
        command += ["-n", f"{name}@%h"]
        own_env = worker_env | metrics_port(env, number - 1)
        supervisor.start(Child(name, command, own_env, logs / f"{name}.log", grace_s=6.0))
    command = [python, "-m", door_module, "--host", options.host, "--port", str(port)]
    command += ["--data", str(options.data / "door")]
    supervisor.start(Child("door", command, env, logs / "door.log", grace_s=6.0))
    return redis_url


def metrics_port(env: Mapping[str, str], number: int) -> dict[str, str]:
    """Return the variable of a worker's own metrics port: those after the one that was given."""
    first = env.get("SFUMATO_METRICS_PORT", "0")
    if not first.isdecimal() or first == "0":
        return {}
    return {"SFUMATO_METRICS_PORT": str(int(first) + number)}


def threads(workers: int) -> int:
    """Return the torch threads of each of so many workers: one core is left to the door."""
    cores = len(os.sched_getaffinity(0))
    return max(1, (cores - 1) // max(1, workers))


def _redis(options: StackOptions, env: dict[str, str], logs: Path, supervisor: Supervisor) -> str:
    given = env.get("SFUMATO_REDIS_URL") or env.get("REDIS_URL")
    if given:
        return given
    folder = options.data / "redis"
    folder.mkdir(parents=True, exist_ok=True)
    port = free_port()
    command = redis_command(folder, port)
    supervisor.start(Child("redis", command, env, logs / "redis.log", grace_s=4.0))
    try:
        wait_ready(port)
    except TimeoutError:
        supervisor.check_starting()
        raise
    return f"redis://127.0.0.1:{port}/0"


def wait_until_ready(
    url: str, supervisor: Supervisor, workers: int, since: float, api_key: str | None = None
) -> None:
    """Wait until the door answers and every worker started since then has announced itself.

    Raises:
        ChildFailed: a part ended while starting.
        TimeoutError: it was not ready in time.
    """
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        supervisor.check_starting()
        live = live_workers(url, since, api_key)
        if live is not None and live >= workers:
            return
        time.sleep(0.1)
    raise TimeoutError(f"the stack was not ready within {START_LIMIT_S:.0f} s")


def live_workers(url: str, since: float, api_key: str | None = None) -> int | None:
    """Return how many workers started since then the door knows, None while it is not ready."""
    try:
        with Client(url, api_key=api_key, timeout_s=2) as client:
            if not client.ready():
                return None
            return sum(worker.started_at.timestamp() >= since for worker in client.workers())
    except ClientError:
        return None
