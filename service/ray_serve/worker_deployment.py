"""Autoscaled workers as a Ray Serve application.

Start it with ``serve run service.ray_serve.worker_deployment:app``.

Each replica starts the same ``celery`` command as operators do, as a child process. Serve decides
how many replicas there are; jobs come from the store, never through Serve.
"""

import asyncio
import logging
import os
import socket
from collections.abc import Mapping
from typing import Any

import structlog
from ray import serve
from ray.serve import Application
from ray.serve.config import AutoscalingConfig, AutoscalingPolicy

from jobs.errors import StoreUnavailable
from jobs.redis.store import RedisStore
from jobs.settings import JobsSettings, read_environment
from jobs.telemetry.logs import configure
from service.processes.worker_process import WorkerProcess, own_metrics_port
from service.ray_serve.autoscaling import BacklogPolicy
from service.ray_serve.worker_settings import RayWorkerSettings, worker_settings

log = structlog.get_logger()

NAME = "sfumato-workers"
POLL_S = 0.2
STOP_MARGIN_S = 10.0  # for the keeper to kill what is left, and for Serve


class Worker:
    """One replica: a worker process, from ready to drained."""

    _process: WorkerProcess | None = None  # __del__ may be called while __init__ still waits

    async def __init__(  # type: ignore[misc]  # Serve awaits it
        self,
        worker_env: Mapping[str, str],
        metrics: tuple[str, int],
        drain_s: float,
        start_limit_s: float,
    ) -> None:
        """Start the worker and wait until it has announced itself; then Serve counts it as running.

        Raises:
            WorkerEnded: it ended while starting.
            TimeoutError: it was not ready in time.
        """
        configure("json", "INFO")
        logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every probe
        context = serve.get_replica_context()
        worker_id = f"{socket.gethostname()}-{context.replica_id.unique_id}"
        env = {"SFUMATO_LOG_FORMAT": "json", "OMP_WAIT_POLICY": "passive"} | os.environ
        host, first = metrics
        port = own_metrics_port(host, first, context.rank.local_rank)
        self._process = WorkerProcess(worker_id, env | dict(worker_env), (host, port), drain_s)
        await self._ready(self._process, start_limit_s)

    async def _ready(self, process: WorkerProcess, limit_s: float) -> None:
        store = RedisStore(read_environment(JobsSettings))
        try:
            async with asyncio.timeout(limit_s):
                while not await announced(store, process.worker_id):
                    process.check_running()
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            process.terminate()
            raise TimeoutError(f"worker {process.worker_id} not ready in {limit_s} s") from None
        finally:
            await store.close()

    async def check_health(self) -> None:
        """Raise if the worker has ended or hangs; Serve then replaces the replica.

        Raises:
            WorkerEnded, WorkerStuck: it does not work.
        """
        if self._process is not None:
            await self._process.check_alive()

    async def __del__(self) -> None:
        """Drain the worker; Serve calls this when it removes the replica."""
        if self._process is not None:
            code = await self._process.drain()
            log.info("worker drained", worker=self._process.worker_id, code=code)


async def announced(store: RedisStore, worker_id: str) -> bool:
    """Return whether the worker is live; False while the store is unavailable."""
    try:
        return any(worker.is_of(worker_id) for worker in await store.workers())
    except StoreUnavailable:
        return False


def app(args: dict[str, Any] | None = None) -> Application:
    """Return the application. Each setting can be given as an argument, without ``SFUMATO_``.

    ``args`` are the arguments that ``serve run`` passes to a builder: ``ray_max_workers=4``.
    Replicas and Serve's controller read the store's variables of their machine.
    """
    settings = worker_settings(args or {})
    deployment = serve.deployment(
        name="Worker",
        autoscaling_config=autoscaling(settings),
        max_ongoing_requests=1,
        graceful_shutdown_timeout_s=settings.ray_drain_s + STOP_MARGIN_S,
        graceful_shutdown_wait_loop_s=0.1,
        health_check_period_s=1,
        health_check_timeout_s=30,
        ray_actor_options={"num_cpus": settings.ray_num_cpus, "num_gpus": settings.ray_num_gpus},
    )(Worker)
    return deployment.bind(
        settings.worker_env,
        (settings.metrics_host, settings.metrics_port),
        settings.ray_drain_s,
        settings.ray_start_limit_s,
    )


def autoscaling(settings: RayWorkerSettings) -> AutoscalingConfig:
    """Return Serve's configuration: our policy, with the delays and bounds of the settings."""
    return AutoscalingConfig(
        min_replicas=settings.ray_min_workers,
        initial_replicas=settings.ray_min_workers,
        max_replicas=settings.ray_max_workers,
        upscale_delay_s=settings.ray_upscale_delay_s,
        downscale_delay_s=settings.ray_downscale_delay_s,
        downscale_to_zero_delay_s=settings.ray_idle_s,
        policy=AutoscalingPolicy(
            policy_function=BacklogPolicy,
            policy_kwargs={"model": settings.name, "target_s": settings.ray_target_s},
        ),
    )
