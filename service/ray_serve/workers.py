"""Workers scaled with the backlog, on a private Ray that lives and dies with this process:
``python -m service.ray_serve.workers --data DIR``.
"""

import argparse
import threading
import time
from collections import Counter
from pathlib import Path

import structlog

from jobs.host.cpus import usable_cpus
from jobs.telemetry.logs import configure
from service.processes.folder import usable_folder
from service.ray_serve.private_ray import (
    exit_now,
    files_lost,
    leave,
    on_stop,
    private_serve,
    stop_event,
)
from service.ray_serve.worker_settings import RayWorkerSettings, worker_settings

log = structlog.get_logger()

CHECK_EVERY_S = 2.0
CHECKS_UNANSWERED = 15  # in a row, until the process exits and its supervisor restarts it
CHECKS_GIVEN_UP = 3


def main() -> int:
    """Scale workers until SIGTERM; then drain all of them, and end Ray."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("workers"), help="its own folder")
    data = parser.parse_args().data
    settings = worker_settings({})
    configure(settings.log_format, settings.log_level)
    usable_folder(data)
    on_stop(leave)
    return scale_until_stopped(settings, data)


def scale_until_stopped(settings: RayWorkerSettings, data: Path) -> int:
    """Start Ray and Serve with the workers, watch until asked to stop, and drain them."""
    started_at = time.monotonic()
    # Each worker asks for ray_num_cpus, and the maximum number of workers has to fit.
    wanted = round(settings.ray_num_cpus * settings.ray_max_workers)
    cpus = max(usable_cpus(), wanted)
    with private_serve(data, cpus, proxy_location="Disabled") as serve:
        from service.ray_serve import worker_deployment

        serve.run(worker_deployment.app(), name=worker_deployment.NAME, route_prefix=None)
        stopping = stop_event()
        print("ready workers", flush=True)
        seconds = round(time.monotonic() - started_at, 1)
        most = settings.ray_max_workers
        log.info("autoscaling workers", model=settings.name, most=most, seconds=seconds)
        return watch(stopping, data)


def watch(stopping: threading.Event, data: Path) -> int:
    """Check Serve until asked to stop and log every change; return the exit code."""
    unanswered = given_up = 0
    logged = ("", 0)
    while not stopping.wait(CHECK_EVERY_S):
        if files_lost(data):
            log.error("the files of Ray are gone; something has cleaned their folder")
            return 1
        try:
            state, running, others, message = status()
        except Exception as error:
            unanswered += 1
            log.warning("Serve does not answer", reason=repr(error))
            if unanswered >= CHECKS_UNANSWERED:
                return 1
            continue
        unanswered = 0
        # After three failures Serve tries no more and waits for another deployment.
        failed = state in ("UNHEALTHY", "DEPLOY_FAILED") and running + others == 0
        given_up = given_up + 1 if failed else 0
        if given_up >= CHECKS_GIVEN_UP:
            log.error("workers do not start; the first lines of this log say why")
            return 1
        if logged != (logged := (state, running)):
            log.info("workers", state=state, running=running, reason=message)
    return 0


def status() -> tuple[str, int, int, str | None]:
    """Return the application's state, its running and other replicas, and Serve's message."""
    from ray import serve

    from service.ray_serve import worker_deployment

    application = serve.status().applications[worker_deployment.NAME]
    counts = Counter[str]()
    for deployment in application.deployments.values():
        counts.update(deployment.replica_states)
    running = counts["RUNNING"]
    messages = [application.message, *(d.message for d in application.deployments.values())]
    message = " ".join(filter(None, messages)) or None
    return application.status.value, running, counts.total() - running, message


if __name__ == "__main__":
    exit_now(main())
