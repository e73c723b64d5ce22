"""Workers that come and go with the backlog, on a private Ray that lives and dies with this
process: ``python -m service.serve_workers --data DIR``.
"""

import argparse
import contextlib
import logging
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import structlog

from jobs.logs import configure
from service.private_ray import leave, on_stop, private_ray
from service.worker_settings import RayWorkerSettings, worker_settings

log = structlog.get_logger()

LOOK_EVERY_S = 2.0
LOOKS_FAILED = 15  # in a row, until the process gives up and its supervisor starts it anew
LOOKS_STUCK = 3


def main() -> int:
    """Scale workers until SIGTERM; then let all of them give their jobs back, and end Ray."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("workers"), help="a folder of its own")
    data = parser.parse_args().data
    settings = worker_settings({})
    configure(settings.log_format, settings.log_level)
    on_stop(leave)
    started_at = time.monotonic()
    # Every worker asks for ray_num_cpus, so that as many as are allowed have to fit.
    cpus = max(
        1, len(os.sched_getaffinity(0)), round(settings.ray_num_cpus * settings.ray_max_workers)
    )
    with private_ray(data, num_cpus=cpus):
        return scale_until_stopped(settings, started_at)


def scale_until_stopped(settings: RayWorkerSettings, started_at: float) -> int:
    """Start Serve with the workers, watch until asked to stop, and drain them."""
    from ray import serve
    from ray.serve.config import ProxyLocation

    from service import worker_deployment

    try:
        on_stop(leave)  # Ray has put handlers of its own there
        serve.start(proxy_location=ProxyLocation.Disabled)
        serve.run(worker_deployment.app(), name=worker_deployment.NAME, route_prefix=None)
        stopping = threading.Event()
        on_stop(stopping.set)
        print("ready workers", flush=True)
        seconds = round(time.monotonic() - started_at, 1)
        log.info(
            "workers scale", model=settings.name, most=settings.ray_max_workers, seconds=seconds
        )
        return watch(stopping)
    finally:
        asked_at = time.monotonic()
        with contextlib.suppress(Exception):  # Serve may be what broke, here and below
            serve.delete(worker_deployment.NAME)
        with contextlib.suppress(Exception):
            serve.shutdown()
        log.info("workers stopped", seconds=round(time.monotonic() - asked_at, 1))


def watch(stopping: threading.Event) -> int:
    """Look after Serve until asked to stop, and tell of every change; return the exit code."""
    silent = stuck = 0
    shown = ""
    while not stopping.wait(LOOK_EVERY_S):
        try:
            seen = standing()
        except Exception as error:
            silent += 1
            log.warning("Serve does not answer", reason=repr(error))
        else:
            silent = 0
            stuck = stuck + 1 if seen.given_up else 0
            if shown != (shown := f"{seen.state} {seen.running}"):
                log.info("workers", state=seen.state, running=seen.running, reason=seen.message)
        if silent >= LOOKS_FAILED:
            return 1
        if stuck >= LOOKS_STUCK:
            log.error("workers do not start; why is in this log, from their first lines on")
            return 1
    return 0


@dataclass(frozen=True)
class Standing:
    """What Serve says of the workers."""

    state: str  # of the application
    running: int  # replicas
    others: int  # replicas that start or stop
    message: str | None

    @property
    def given_up(self) -> bool:
        """Whether Serve tries no more: after three tries it waits for another deployment."""
        failed = self.state in ("UNHEALTHY", "DEPLOY_FAILED")
        return failed and self.running + self.others == 0


def standing() -> Standing:
    """Return how the workers are."""
    from ray import serve

    from service import worker_deployment

    application = serve.status().applications[worker_deployment.NAME]
    counts = Counter[str]()
    for deployment in application.deployments.values():
        counts.update(deployment.replica_states)
    running = counts["RUNNING"]
    messages = [application.message, *(d.message for d in application.deployments.values())]
    message = " ".join(filter(None, messages)) or None
    return Standing(application.status.value, running, counts.total() - running, message)


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # everything is down; Ray's threads would take another second to notice
