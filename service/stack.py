"""The whole service on one machine: Redis, workers and the door, as supervised processes."""

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
from service.worker_process import worker_command

Door = Literal["serve", "uvicorn"]
START_LIMIT_S = 180.0
SCALER_GRACE_S = 40.0  # for all workers to drain, and for Ray


class StackError(RuntimeError):
    """The stack cannot be started as asked."""


@dataclass(frozen=True)
class StackOptions:
    """The options of ``sfumato up``."""

    data: Path
    host: str = "127.0.0.1"
    port: int = 8000  # 0: any free one
    workers: int = 1
    autoscale: int = 0  # let Ray start up to this many workers instead; 0: off
    slots: int = 20
    door: Door = "serve"


@dataclass(frozen=True)
class Stack:
    """A stack that is ready."""

    url: str
    supervisor: Supervisor
    api_key: str | None = None  # an operator's, if the door requires keys


@contextlib.contextmanager
def running(options: StackOptions, report: Callable[[str], None]) -> Iterator[Stack]:
    """Start the stack, yield it once it serves jobs, and stop it with the block.

    Raises:
        StackError: the port is taken, or another stack uses the data folder.
        ChildFailed: a process ended while starting.
        TimeoutError: it was not ready in time.
    """
    port = options.port or free_port()
    check_free(options.host, port)
    options.data.mkdir(mode=0o700, parents=True, exist_ok=True)  # it holds prompts and keys
    with locked(options.data):
        supervisor = Supervisor(report)
        since = time.time()
        try:
            url = f"http://{options.host}:{port}"
            redis_url = _start(options, port, supervisor)
            write_private(options.data / REDIS_URL, redis_url)
            api_key = None
            if keys_wanted():
                api_key = operator_key(options.data, redis_url)
                report(f"the door requires API keys; yours is in {options.data / OPERATOR_KEY}")
            wait_until_ready(url, supervisor, options, since, api_key)
            yield Stack(url, supervisor, api_key)
        finally:
            supervisor.stop()


def check_free(host: str, port: int) -> None:
    """Check that the port is free. Raises: StackError."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise StackError(f"cannot listen on {host}:{port}: {error.strerror}") from error


@contextlib.contextmanager
def locked(data: Path) -> Iterator[IO[str]]:
    """Lock the data folder for this process. Raises: StackError if another stack holds it."""
    with (data / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StackError(
                f"another stack uses {data}; choose another folder with --data"
            ) from error
        yield file


def _start(options: StackOptions, port: int, supervisor: Supervisor) -> str:
    env = dict(os.environ) | {"PYTHONUNBUFFERED": "1"}
    logs = options.data / "logs"
    redis_url = _redis(options, env, logs, supervisor)
    env["SFUMATO_REDIS_URL"] = redis_url
    env.setdefault("SFUMATO_LOG_FORMAT", "json")
    if keys_wanted():
        env.setdefault("SFUMATO_URL_SECRETS", url_secret(options.data))
    if options.autoscale:
        env.setdefault("SFUMATO_MAX_WORKERS", str(options.autoscale))
    python = sys.executable
    door_module = "service.serve_door" if options.door == "serve" else "service.uvicorn_door"
    worker_env = env | {"SFUMATO_SLOTS": str(options.slots)}
    # Threads that spin while they wait for a busy core make torch many times slower.
    worker_env.setdefault("OMP_WAIT_POLICY", "passive")
    worker_env.setdefault("SFUMATO_THREADS", str(threads(options.autoscale or options.workers)))
    if options.autoscale:
        worker_env["SFUMATO_RAY_MAX_WORKERS"] = str(options.autoscale)
        command = [python, "-m", "service.serve_workers", "--data", str(options.data / "scaler")]
        supervisor.start(Child("scaler", command, worker_env, logs / "scaler.log", SCALER_GRACE_S))
    else:
        _start_workers(options.workers, worker_env, logs, supervisor)
    command = [python, "-m", door_module, "--host", options.host, "--port", str(port)]
    command += ["--data", str(options.data / "door")]
    supervisor.start(Child("door", command, env, logs / "door.log", grace_s=6.0))
    return redis_url


def _start_workers(count: int, env: Mapping[str, str], logs: Path, supervisor: Supervisor) -> None:
    for number in range(1, count + 1):
        name = f"worker-{number}"
        own_env = dict(env) | metrics_port(env, number - 1)
        command = worker_command(name)
        supervisor.start(Child(name, command, own_env, logs / f"{name}.log", grace_s=6.0))


def metrics_port(env: Mapping[str, str], number: int) -> dict[str, str]:
    """Return the variable for a worker's metrics port: the given one plus its number."""
    first = env.get("SFUMATO_METRICS_PORT", "0")
    if not first.isdecimal() or first == "0":
        return {}
    return {"SFUMATO_METRICS_PORT": str(int(first) + number)}


def threads(workers: int) -> int:
    """Return the torch threads of each of this many workers; one core is left to the door."""
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
    url: str,
    supervisor: Supervisor,
    options: StackOptions,
    since: float,
    api_key: str | None = None,
) -> None:
    """Wait until the door answers and all workers started since then have announced themselves.

    Autoscaled workers come with the backlog: then only their model has to be known.

    Raises:
        ChildFailed: a process ended while starting.
        TimeoutError: it was not ready in time.
    """
    models, workers = (1, 0) if options.autoscale else (0, options.workers)
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        supervisor.check_starting()
        known = announced(url, since, api_key)
        if known is not None and known[0] >= models and known[1] >= workers:
            return
        time.sleep(0.1)
    raise TimeoutError(f"the stack was not ready within {START_LIMIT_S:.0f} s")


def announced(url: str, since: float, api_key: str | None = None) -> tuple[int, int] | None:
    """Return how many models and workers started since then the door knows; None if not ready."""
    try:
        with Client(url, api_key=api_key, timeout_s=2) as client:
            if not client.ready():
                return None
            workers = sum(worker.started_at.timestamp() >= since for worker in client.workers())
            return len(client.models().models), workers
    except ClientError:
        return None
