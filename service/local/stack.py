"""The whole service on one machine: Redis, workers and the door, as supervised processes."""

import contextlib
import fcntl
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jobs.host.addresses import check_free, reachable
from jobs.host.cpus import usable_cpus
from service.client.client import Sfumato
from service.client.errors import ClientError
from service.local.environment import check_environment, given_redis
from service.local.errors import StackError
from service.local.gpus import ORDER
from service.local.stack_secrets import (
    OPERATOR_KEY,
    REDIS_CONFIG,
    REDIS_URL,
    keys_wanted,
    operator_key,
    redis_password,
    url_secret,
    write_private,
)
from service.processes.folder import usable_folder
from service.processes.no_proxy import without_proxy
from service.processes.ports import free_port
from service.processes.redis_server import redis_command, wait_ready
from service.processes.supervisor import Child, Supervisor
from service.processes.worker_process import worker_command

Door = Literal["serve", "uvicorn"]
START_LIMIT_S = 180.0
TELL_EVERY_S = 15.0
SCALER_GRACE_S = 40.0  # for all workers to drain, and for Ray


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
    model: Path | None = None  # the workers', by path or by name; None: the environment's
    gpus: Sequence[int] = ()  # one worker on each of these CUDA devices, instead of ``workers``

    @property
    def started(self) -> int:
        """How many workers are started at once."""
        return len(self.gpus) or self.workers


@dataclass
class Stack:
    """A stack of processes."""

    url: str
    supervisor: Supervisor
    api_key: str | None = None  # an operator's, if the door requires keys


@contextlib.contextmanager
def running(options: StackOptions, report: Callable[[str], None]) -> Iterator[Stack]:
    """Start the stack, yield it once it serves jobs, and stop it with the block.

    Raises:
        StackError: a setting is bad, Redis does not answer, the port is taken, or another stack
            uses the data folder.
        UnusableFolder: nothing can be written into the data folder.
        ChildFailed: a process ended while starting.
        TimeoutError: it was not ready in time.
    """
    chosen = check_environment(options)
    port = options.port or free_port()
    try:
        check_free(options.host, port)
    except OSError as error:
        raise StackError(str(error)) from error
    usable_folder(options.data, 0o700)  # it holds prompts and keys
    with locked(options.data):
        stack = Stack(f"http://{reachable(options.host)}:{port}", Supervisor(report))
        since = time.time()
        try:
            redis_url = _start(options, port, chosen, stack.supervisor)
            write_private(options.data / REDIS_URL, redis_url)
            if keys_wanted():
                stack.api_key = operator_key(options.data, redis_url)
                report(f"the door requires API keys; yours is in {options.data / OPERATOR_KEY}")
            wait_until_ready(stack, options, since)
            yield stack
        finally:
            stack.supervisor.stop()
            (options.data / REDIS_URL).unlink(missing_ok=True)


@contextlib.contextmanager
def locked(data: Path) -> Iterator[None]:
    """Lock the data folder for this process. Raises: StackError if another stack holds it."""
    with (data / "lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            detail = f"another stack uses {data}; choose another folder with --data"
            raise StackError(detail) from error
        yield


def _start(
    options: StackOptions, port: int, chosen: Mapping[str, str], supervisor: Supervisor
) -> str:
    """Start everything; return the URL of Redis."""
    env = dict(os.environ) | {"PYTHONUNBUFFERED": "1"} | without_proxy(os.environ) | dict(chosen)
    given = given_redis()
    env["SFUMATO_REDIS_URL"] = redis_url = given or _start_redis(options.data, env, supervisor)
    env.setdefault("SFUMATO_LOG_FORMAT", "json")
    if keys_wanted():
        env.setdefault("SFUMATO_URL_SECRETS", url_secret(options.data))
    if options.autoscale:
        env.setdefault("SFUMATO_MAX_WORKERS", str(options.autoscale))
    _start_workers(options, env, supervisor)
    module = "service.ray_serve.door" if options.door == "serve" else "service.uvicorn_door"
    command = [sys.executable, "-m", module, "--host", options.host, "--port", str(port)]
    command += ["--data", str(options.data / "door")]
    supervisor.start(Child("door", command, env, options.data / "logs/door.log", grace_s=6.0))
    return redis_url


def _start_redis(data: Path, env: Mapping[str, str], supervisor: Supervisor) -> str:
    folder, password = data / "redis", redis_password(data)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)  # its files hold prompts
    port, config = free_port(), data / REDIS_CONFIG
    write_private(config, f"requirepass {password}")
    command = redis_command(folder, port, config)
    supervisor.start(Child("redis", command, env, data / "logs/redis.log", grace_s=4.0))
    try:
        wait_ready(port, password=password)
    except TimeoutError:
        supervisor.check_starting()
        raise
    return f"redis://:{password}@127.0.0.1:{port}/0"


def _start_workers(options: StackOptions, env: Mapping[str, str], supervisor: Supervisor) -> None:
    env = dict(env) | {"SFUMATO_SLOTS": str(options.slots)}
    # Threads that spin while they wait for a busy core make torch many times slower.
    env.setdefault("OMP_WAIT_POLICY", "passive")
    env.setdefault("SFUMATO_THREADS", str(threads(options.autoscale or options.started)))
    logs = options.data / "logs"
    if options.autoscale:
        env["SFUMATO_RAY_MAX_WORKERS"] = str(options.autoscale)
        data = str(options.data / "scaler")
        command = [sys.executable, "-m", "service.ray_serve.workers", "--data", data]
        supervisor.start(Child("scaler", command, env, logs / "scaler.log", SCALER_GRACE_S))
        return
    for number in range(options.started):
        name = f"worker-{number + 1}"
        own = env | metrics_port(env, number)
        if options.gpus:
            own |= ORDER | {"SFUMATO_DEVICE": f"cuda:{options.gpus[number]}"}
        log = logs / f"{name}.log"
        supervisor.start(Child(name, worker_command(name), own, log, grace_s=6.0))


def metrics_port(env: Mapping[str, str], number: int) -> dict[str, str]:
    """Return the variable for a worker's metrics port: the given one plus its number."""
    first = env.get("SFUMATO_METRICS_PORT", "0")
    if not (first.isascii() and first.isdecimal()) or first == "0":
        return {}
    return {"SFUMATO_METRICS_PORT": str(int(first) + number)}


def threads(workers: int) -> int:
    """Return the torch threads of each of this many workers; one core is left to the door."""
    return max(1, (usable_cpus() - 1) // max(1, workers))


def wait_until_ready(stack: Stack, options: StackOptions, since: float) -> None:
    """Wait until the door answers and all workers started since then have announced themselves.

    Autoscaled workers come with the backlog: then only their model has to be known. What it waits
    for is reported now and then.

    Raises:
        ChildFailed: a process ended while starting.
        TimeoutError: it was not ready in time.
    """
    began = time.monotonic()
    told_at = began
    while True:
        stack.supervisor.check_starting()
        missing = not_ready(stack, options, since)
        if missing is None:
            return
        now = time.monotonic()
        if now - began > START_LIMIT_S:
            raise TimeoutError(f"not ready within {START_LIMIT_S:.0f} s: {missing}")
        if now - told_at > TELL_EVERY_S:
            told_at = now
            stack.supervisor.report(f"not ready after {now - began:.0f} s: {missing}")
        time.sleep(0.1)


def not_ready(stack: Stack, options: StackOptions, since: float) -> str | None:
    """Return what is not ready yet, None if the stack serves jobs."""
    try:
        with Sfumato(stack.url, api_key=stack.api_key, timeout_s=2, retry_s=0) as client:
            if not client.ready():
                return f"the door at {stack.url} is not ready; see {options.data / 'logs/door.log'}"
            if options.autoscale:
                known, wanted, what = len(client.models().models), 1, "models"
            else:
                started = [w for w in client.workers() if w.started_at.timestamp() >= since]
                known, wanted, what = len(started), options.started, "workers"
    except ClientError as error:
        return str(error)
    logs = options.data / "logs"
    return f"{known} of {wanted} {what}; see {logs}" if known < wanted else None
