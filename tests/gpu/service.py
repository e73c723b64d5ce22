"""A model through the whole service: a door, a Redis and a worker in processes of their own."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from statistics import mean
from time import monotonic, sleep
from typing import Any

import httpx

from service.processes.ports import free_port
from tests.benchmarks.doors.door_process import door_process
from tests.benchmarks.own_redis import own_redis
from tests.gpu.ground import Figures, Ground
from tests.gpu.models import sd15_of, sdxl_of
from tests.gpu.raw import best
from tests.processes import door_answers, process, wait
from workers.settings import DEFAULT_MODEL

START_S = 180.0
STEPS = 20
GUIDANCE = 8.0
ROWS = "sfumato_engine_rows_total"
NETWORK_S = 'sfumato_engine_tick_seconds_total{part="model"}'
"""Metrics of a worker."""


@dataclass(frozen=True)
class Load:
    """How many pictures are asked for at once, and what each is."""

    pictures: int
    steps: int = STEPS
    guidance_scale: float = GUIDANCE

    @property
    def body(self) -> dict[str, Any]:
        """The request of one picture."""
        return {
            "prompt": "a red apple on a wooden table",
            "sampler": "euler",
            "num_inference_steps": self.steps,
            "guidance_scale": self.guidance_scale,
            "preview": 0,
        }

    @property
    def rows(self) -> int:
        """Forward rows of one picture."""
        return 2 * self.steps


def sdxl(ground: Ground, found: Mapping[str, Figures]) -> Figures:
    """Draw SDXL's pictures, many at once and one at a time, beside diffusers' one at a time."""
    return _with_diffusers(ground, sdxl_of(ground), found["SDXL, raw"], 48)


def sd15(ground: Ground, found: Mapping[str, Figures]) -> Figures:
    """Likewise Stable Diffusion 1.5's."""
    return _with_diffusers(ground, sd15_of(ground), found["SD 1.5, raw"], 128)


def emoji(ground: Ground, _: Mapping[str, Figures]) -> Figures:
    """Draw the shipped model's, many at once and one at a time."""
    load = Load(8 if ground.tiny else 1024, steps=4 if ground.tiny else STEPS, guidance_scale=2.0)
    with served(ground, DEFAULT_MODEL, slots=8 if ground.tiny else 512) as service:
        figures = drawn(service, load, alone=2 if ground.tiny else 8)
    figures["over_one_at_a_time"] = round(figures["pictures_per_s"] * figures["one_at_a_time_s"], 2)
    return figures


def _with_diffusers(ground: Ground, folder: Path, raw: Figures, pictures: int) -> Figures:
    load = Load(4 if ground.tiny else pictures, steps=4 if ground.tiny else STEPS)
    alone_s = diffusers_seconds(ground, folder, load)
    with served(ground, folder, slots=4 if ground.tiny else 16) as service:
        figures = drawn(service, load, alone=1 if ground.tiny else 3)
    figures |= {
        "diffusers_one_at_a_time_s": round(alone_s, 3),
        "over_diffusers": round(figures["pictures_per_s"] * alone_s, 3),
        "share_of_raw_rows": round(figures["pictures_per_s"] * load.rows / best(raw), 4),
    }
    return figures


@dataclass(frozen=True)
class Worker:
    """A running worker."""

    pid: int
    metrics_url: str

    def metric(self, name: str) -> float:
        """Return the worker's series of this name, and with this label if one follows it."""
        page = httpx.get(self.metrics_url, trust_env=False).text
        family, _, label = name.partition("{")
        lines = [line for line in page.splitlines() if line.startswith(family)]
        (line,) = [line for line in lines if label.removesuffix("}") in line]
        return float(line.split()[-1])


@dataclass(frozen=True)
class Service:
    """A running one."""

    url: str
    redis_url: str
    worker: Worker


@contextmanager
def served(ground: Ground, model: Path, **options: object) -> Iterator[Service]:
    """Run the service with one worker of a model on the device."""
    with (
        own_redis() as (redis_url, scratch),
        running_worker(ground, model, redis_url, **options) as worker,
        door_process("uvicorn", redis_url, scratch) as url,
    ):
        wait("the worker", lambda: door_answers(url, workers=1), START_S)
        yield Service(url, redis_url, worker)


@contextmanager
def running_worker(
    ground: Ground, model: Path, redis_url: str, **options: object
) -> Iterator[Worker]:
    """Run a worker with these settings; it may not have loaded its model yet."""
    port = free_port()
    settings = {
        "redis_url": redis_url,
        "model": model,
        "device": ground.device,
        "backend": "torch",
        "metrics_port": port,
        **options,
    }
    variables = {f"sfumato_{name}": value for name, value in settings.items()}
    command = [sys.executable, "-m", "celery", "-q", "-A", "workers.app", "worker"]
    command += ["-P", "threads", "-n", f"{port}@check"]
    with process(command, ground.folder / f"{model.name}-{port}.log", **variables) as child:
        yield Worker(child.pid, f"http://127.0.0.1:{port}/metrics")


def drawn(service: Service, load: Load, alone: int) -> Figures:
    """Return how fast pictures come one at a time, and many at once."""
    with httpx.Client(base_url=service.url, timeout=60, trust_env=False) as http:
        ended(http, [submitted(http, load)])  # the first one warms what is left to warm
        singles = []
        for _ in range(alone):
            began = monotonic()
            ended(http, [submitted(http, load)])
            singles.append(monotonic() - began)
        before, began = (
            {name: service.worker.metric(name) for name in (ROWS, NETWORK_S)},
            monotonic(),
        )
        jobs = ended(http, [submitted(http, load) for _ in range(load.pictures)])
        took = monotonic() - began
        spent = {name: service.worker.metric(name) - before[name] for name in before}
    waits = [(_moment(job["finished_at"]) - _moment(job["created_at"])) for job in jobs]
    return {
        "pictures": load.pictures,
        "seconds": round(took, 2),
        "pictures_per_s": round(load.pictures / took, 3),
        "one_at_a_time_s": round(mean(singles), 3),
        "mean_latency_s": round(mean(waits), 2),
        "rows_per_s": round(spent[ROWS] / took, 1),
        "share_of_time_in_network": round(spent[NETWORK_S] / took, 3),
    }


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def submitted(http: httpx.Client, load: Load, **more: object) -> str:
    """Submit one job; return its id."""
    answer = http.post("/v1/jobs", json=load.body | more)
    answer.raise_for_status()
    return str(answer.json()["id"])


def ended(http: httpx.Client, jobs: list[str], within_s: float = 300.0) -> list[dict[str, Any]]:
    """Return jobs once all have succeeded.

    Raises:
        AssertionError: one has not, or not in time.
    """
    deadline, found = monotonic() + within_s, []
    for job_id in jobs:
        while (job := http.get(f"/v1/jobs/{job_id}").json())["status"] in ("queued", "running"):
            assert monotonic() < deadline, f"not within {within_s} s: {job}"
            sleep(0.02)
        assert job["status"] == "succeeded", job
        found.append(job)
    return found


def diffusers_seconds(ground: Ground, folder: Path, load: Load) -> float:
    """Return the seconds that diffusers' pipeline takes for one picture."""
    from diffusers.pipelines.pipeline_utils import DiffusionPipeline

    pipeline = DiffusionPipeline.from_pretrained(
        folder, torch_dtype=ground.dtype, local_files_only=True
    ).to(ground.device)
    pipeline.set_progress_bar_config(disable=True)
    draw = partial(
        pipeline,
        load.body["prompt"],
        num_inference_steps=load.steps,
        guidance_scale=load.guidance_scale,
    )
    return ground.seconds(draw, at_least_s=0.5 if ground.tiny else 8.0)
