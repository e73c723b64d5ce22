"""A door, a worker and a collector in action: jobs drawn, failed, canceled and expired."""

import asyncio
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from diffusion.bundle.bundle import load_bundle
from jobs.catalogue import resolve, units
from jobs.queue import Doorbell
from jobs.redis.store import RedisStore
from jobs.schema import JobRequest
from jobs.settings import JobsSettings
from service.client.client import Sfumato
from service.processes.ports import free_port
from tests.faults.children import slow
from tests.faults.processes import Worker
from tests.needs import find, path_of
from tests.observation.collector import Collector, collecting
from tests.processes import PATIENCE_S, door_answers, process, reserved_port, wait
from workers.runtime.catalogue import model_entry

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLER = "00f067aa0ba902b7"
RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules.yaml"
TRACEPARENT = f"00-{TRACE}-{CALLER}-01"


@dataclass
class Live:
    """A running service, and the jobs that went through it."""

    url: str
    began: float  # Unix time
    collector: Collector
    logs: dict[str, Path]  # of the door and the worker
    jobs: dict[str, str]  # outcome → id
    prometheus: str = ""  # its URL, where it is installed


@contextmanager
def running(settings: JobsSettings, model: Path, folder: Path) -> Iterator[Live]:
    """Run a door and a worker that send their spans to a collector."""
    began = time.time()
    logs = {name: folder / f"{name}.log" for name in ("door", "worker")}
    with ExitStack() as stack:
        # Some seconds go by until they listen.
        port, own, worker_port = (stack.enter_context(reserved_port()) for _ in range(3))
        collector = stack.enter_context(collecting())
        env = {
            "sfumato_redis_url": settings.redis_url,
            "sfumato_key_prefix": settings.key_prefix,
            "sfumato_lease_s": settings.lease_s,
            "sfumato_door_metrics_port": own,
            "sfumato_otlp_endpoint": collector.url,
            "otel_bsp_schedule_delay": 300,
        }
        door = [sys.executable, "-m", "service.uvicorn_door", "--port", str(port)]
        stack.enter_context(process(door, logs["door"], **env))
        url = f"http://127.0.0.1:{port}"
        wait("the door", lambda: door_answers(url))
        late = submit_late(url, settings, model)
        metrics = [f"127.0.0.1:{number}" for number in (port, own, worker_port)]
        seen = ""
        if find("prometheus"):
            seen = stack.enter_context(prometheus(metrics, folder))
        os.environ["OTEL_BSP_SCHEDULE_DELAY"] = "300"
        os.environ["HTTP_PROXY"] = "http://127.0.0.1:1"  # the collector is on this machine
        worker = Worker(
            settings, model, "observed", logs["worker"], metrics_port=worker_port,
            otlp_endpoint=collector.url, preview_s=0, **slow(pass_s=0.05),
        )  # fmt: skip
        del os.environ["OTEL_BSP_SCHEDULE_DELAY"], os.environ["HTTP_PROXY"]
        stack.callback(worker.end)
        stack.push(shown_on_failure(logs["worker"]))
        wait("the door with a worker", lambda: door_answers(url, 1) or not worker.alive)
        assert worker.alive, "the worker has ended"
        if seen:
            wait("two readings", lambda: read_twice(seen, len(metrics)))
        yield Live(url, began, collector, logs, {"expired": late}, seen)


def shown_on_failure(log: Path) -> Callable[..., None]:
    """Return what prints the end of a log when a block is left with an error."""

    def show(error: type[BaseException] | None, *_: object) -> None:
        if error is not None:
            print(f"== {log}\n{log.read_text()[-3000:]}")

    return show


def submit_late(url: str, settings: JobsSettings, model: Path) -> str:
    """Submit a job that expires while no worker is there that would refuse its deadline."""

    async def announce() -> None:
        store = RedisStore(settings)
        try:
            bundle = load_bundle(model)
            await store.announce_model(model_entry(bundle.info, bundle.noise_schedule))
        finally:
            await store.close()

    asyncio.run(announce())
    with Sfumato(url) as client:
        return client.submit("a red apple", deadline_s=0.2).id


async def submit_broken(settings: JobsSettings, job_id: str) -> None:
    """Store a job that no worker can draw, as no door would."""
    store, bell = RedisStore(settings), Doorbell(settings)
    try:
        (model,) = await store.models()
        spec = resolve(JobRequest(prompt="a red apple"), model)
        undrawable = spec.model_copy(update={"sampler": "none"})
        asked = f"00-{secrets.token_hex(16)}-{CALLER}-01"
        await store.create(job_id, undrawable, units(spec, model), traceparent=asked)
        await bell.ring(model.name, job_id)
    finally:
        await store.close()
        bell.close()


def draw(live: Live, settings: JobsSettings) -> None:
    """Send jobs with every outcome through, and wait until all have ended."""
    options: dict[str, Any] = {"base_url": live.url, "trust_env": False, "timeout": PATIENCE_S}
    with Sfumato(live.url) as client, httpx.Client(**options) as http:
        body = {"prompt": "a red apple", "num_inference_steps": 60, "num_images": 2}
        traced = http.post("/v1/jobs", json=body, headers={"traceparent": TRACEPARENT}).json()
        live.jobs["succeeded"] = traced["id"]
        long = client.submit("a red apple", num_inference_steps=1000)
        for _ in client.follow(traced["id"]):
            pass
        wait("a worker at the job to cancel", lambda: client.get(long.id).status != "queued")
        client.cancel(long.id)
        live.jobs["canceled"] = long.id
        asyncio.run(submit_broken(settings, "broken"))
        live.jobs["failed"] = "broken"
        for job_id in live.jobs.values():
            client.wait(job_id)
        assert http.post("/v1/jobs", json={"prompt": 7}).status_code == 422


@contextmanager
def prometheus(metrics: list[str], folder: Path) -> Iterator[str]:
    """Run a Prometheus that reads these and evaluates the rules each second; yield its URL.

    It begins to read some five seconds after its start.
    """
    port = free_port()
    config = folder / "prometheus.yaml"
    targets = ", ".join(f"'{target}'" for target in metrics)
    config.write_text(
        "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
        f"rule_files: ['{RULES}']\n"
        f"scrape_configs: [{{job_name: sfumato, static_configs: [{{targets: [{targets}]}}]}}]\n"
    )
    command = [
        path_of("prometheus"), f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}", "--enable-feature=exemplar-storage",
    ]  # fmt: skip
    url = f"http://127.0.0.1:{port}"
    with process(command, folder / "prometheus.log"):
        yield url


def read_twice(url: str, targets: int) -> bool:
    """Return whether Prometheus has read every target at least twice."""
    query = {"query": "count(sum_over_time(up[1m]) >= 2)"}
    try:
        answer = httpx.get(f"{url}/api/v1/query", params=query, trust_env=False)
    except httpx.HTTPError:
        return False
    if answer.status_code != 200:  # it is not ready yet
        return False
    found = answer.json().get("data", {}).get("result")
    return bool(found) and int(found[0]["value"][1]) == targets
