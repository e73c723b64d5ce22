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
from pathlib import Path

import structlog

from jobs.logs import configure
from service.private_ray import leave, on_stop, private_ray
from service.worker_settings import RayWorkerSettings, worker_settings

log = structlog.get_logger()

LOOK_EVERY_S = 2.0
LOOKS_FAILED = 15  # in a row, until the process gives up and its supervisor starts it anew


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
    failed, shown = 0, ""
    while not stopping.wait(LOOK_EVERY_S):
        try:
            state, running, message = standing()
        except Exception as error:
            failed += 1
            log.warning("Serve does not answer", reason=repr(error))
        else:
            failed = 0
            if shown != (shown := f"{state} {running}"):
                log.info("workers", state=state, running=running, reason=message or None)
            if state == "DEPLOY_FAILED":
                log.error("workers do not start", reason=message)
                return 1
        if failed >= LOOKS_FAILED:
            return 1
    return 0


def standing() -> tuple[str, int, str]:
    """Return the application's status, its running replicas, and what Serve says of it."""
    from ray import serve

    from service import worker_deployment

    application = serve.status().applications[worker_deployment.NAME]
    states = [each.replica_states for each in application.deployments.values()]
    running = sum(counts.get("RUNNING", 0) for counts in states)
    messages = [each.message for each in application.deployments.values() if each.message]
    return application.status.value, running, " ".join([application.message, *messages]).strip()


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # everything is down; Ray's threads would take another second to notice
