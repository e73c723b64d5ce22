"""What goes wrong on a device: a worker killed in the middle, and a batch that does not fit."""

import os
import signal
from collections.abc import Mapping
from time import monotonic

import httpx

from tests.gpu.ground import Figures, Ground, NotRun
from tests.gpu.models import sdxl_of
from tests.gpu.service import Load, ended, running_worker, served, submitted
from tests.processes import wait

PICTURES = 4
TOO_MANY_ROWS = 512
"""Of SDXL at 1024×1024: some 200 GB."""


def kill_and_resume(ground: Ground, _: Mapping[str, Figures]) -> Figures:
    """Kill a worker with -9 in the middle; another one finishes its pictures."""
    folder, load = sdxl_of(ground), Load(PICTURES, steps=200 if ground.tiny else 40)
    options = {"slots": PICTURES, "checkpoint_s": 0.05 if ground.tiny else 1.0, "lease_s": 6.0}
    with (
        served(ground, folder, **options) as service,
        httpx.Client(base_url=service.url, timeout=60, trust_env=False) as http,
    ):
        jobs = [submitted(http, load) for _ in range(load.pictures)]
        wait("the middle", lambda: _step(http, jobs[0]) >= load.steps // 4)
        os.kill(service.worker.pid, signal.SIGKILL)
        killed = monotonic()
        with running_worker(ground, folder, service.redis_url, **options):
            finished = ended(http, jobs)
        took = monotonic() - killed
    return {
        "pictures": load.pictures,
        "seconds_after_the_kill": round(took, 1),
        "attempts": sorted(job["attempts"] for job in finished),
    }


def _step(http: httpx.Client, job_id: str) -> int:
    return int(http.get(f"/v1/jobs/{job_id}").json()["progress"]["step"])


def out_of_memory(ground: Ground, _: Mapping[str, Figures]) -> Figures:
    """Ask for a batch beyond the device's memory; the worker lowers its bound and draws on."""
    if not ground.cuda:
        raise NotRun("only a device of its own memory runs out of it")
    load = Load(TOO_MANY_ROWS // 2, steps=2)
    options = {"slots": load.pictures, "rows_per_tick": TOO_MANY_ROWS}
    with (
        served(ground, sdxl_of(ground), **options) as service,
        httpx.Client(base_url=service.url, timeout=60, trust_env=False) as http,
    ):
        ended(http, [submitted(http, load) for _ in range(load.pictures)])
        left = service.worker.metric("sfumato_engine_rows_per_tick")
    return {"rows_per_tick": TOO_MANY_ROWS, "lowered_to": int(left), "pictures": load.pictures}
