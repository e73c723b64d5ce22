"""One worker as a child process under a keeper: started, checked, drained."""

import asyncio
import contextlib
import socket
import sys
from collections.abc import Mapping

import httpx

from jobs.host.addresses import bind_host, family_of, reachable
from service.processes import keeper
from service.processes.ports import free_port

POLL_S = 0.1
PROBE_TIMEOUT_S = 5.0
PORTS_TRIED = 64


class WorkerEnded(RuntimeError):
    """The worker's process has ended by itself."""


class WorkerStuck(RuntimeError):
    """The worker is running but its liveness probe fails."""


class WorkerProcess:
    """The worker's command under a keeper.

    If this process dies for whatever reason, the kernel signals the keeper, which lets the worker
    give its jobs back and then kills what is left of it. Linux only.
    """

    def __init__(
        self, worker_id: str, env: Mapping[str, str], metrics: tuple[str, int], drain_s: float
    ) -> None:
        """Start it; ``metrics`` is the host and port of its metrics and probes.

        The calling thread must live as long as the worker.
        """
        self.worker_id = worker_id
        host, port = metrics
        self._probe = f"http://{reachable(host)}:{port}/livez"
        own = {
            "SFUMATO_WORKER_ID": worker_id,
            "SFUMATO_METRICS_HOST": host,
            "SFUMATO_METRICS_PORT": str(port),
        }
        self._process = keeper.start(worker_command(worker_id), dict(env) | own, drain_s)

    def check_running(self) -> None:
        """Check that it is running. Raises: WorkerEnded."""
        code = self._process.poll()
        if code is not None:
            raise WorkerEnded(f"worker {self.worker_id} ended with code {code}; see its log")

    async def check_alive(self) -> None:
        """Check that it is running and that its engine makes progress.

        Raises:
            WorkerEnded: it is not running.
            WorkerStuck: its liveness probe fails or does not answer.
        """
        self.check_running()
        async with httpx.AsyncClient(trust_env=False, timeout=PROBE_TIMEOUT_S) as client:
            try:
                answer = await client.get(self._probe)
            except httpx.HTTPError as error:
                raise WorkerStuck(f"worker {self.worker_id} does not answer: {error!r}") from error
        if answer.status_code != 200:
            raise WorkerStuck(f"worker {self.worker_id}: {answer.text.strip()}")

    def terminate(self) -> None:
        """Ask it to give its jobs back and to end."""
        self._process.terminate()

    async def drain(self) -> int:
        """Ask it to give its jobs back and to end; return its exit code once it has."""
        self.terminate()
        while (code := self._process.poll()) is None:
            await asyncio.sleep(POLL_S)
        return code


def worker_command(name: str) -> list[str]:
    """Return the command that starts a worker, as operators start it."""
    celery = [sys.executable, "-m", "celery", "-q", "-A", "workers.app"]
    return [*celery, "worker", "-P", "threads", "-n", f"{name}@%h"]


def own_metrics_port(host: str, first: int, number: int) -> int:
    """Return the metrics port of the ``number``-th worker of a machine.

    It is the first free one from ``first + number`` on, so that workers that start together do not
    collide, or any free one if ``first`` is 0.

    Raises:
        OSError: none of them is free.
    """
    if first == 0:
        return free_port()
    begin = min(first + number, 65535)
    for port in range(begin, min(begin + PORTS_TRIED, 65536)):
        with socket.socket(family_of(host)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind((bind_host(host), port))
                return port
    raise OSError(f"no free port for a worker's metrics from {begin} on")
