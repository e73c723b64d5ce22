"""What a worker's probes say in each state, over HTTP."""

import asyncio
import re
import threading
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from time import monotonic

import httpx
import pytest
from redis.asyncio import Redis
from torch import Tensor

from diffusion.backbones.backbone import Condition
from diffusion.bundle.bundle import Bundle
from jobs.catalogue import resolve, units
from jobs.redis.store import RedisStore
from jobs.schema import JobRequest
from jobs.settings import JobsSettings
from service.processes.ports import free_port
from tests.backbones import Wrapped
from tests.faults.client import until
from tests.faults.processes import RedisProcess
from tests.processes import PATIENCE_S
from tests.workers.harness import Bench
from workers.host import WorkerHost
from workers.ops.health import Pulse, why_not_live, why_not_ready
from workers.settings import WorkerSettings

STALL_S = 0.5
stalling = pytest.mark.parametrize("stall_s", [STALL_S])


@pytest.fixture
def stall_s() -> float:
    """A stall that no busy machine makes; :data:`stalling` is for tests that make one."""
    return 240.0


class Probed:
    """A host on a Redis of its own, looked at over HTTP."""

    def __init__(self, bundle: Bundle, redis: RedisProcess, stall_s: float) -> None:
        self.redis = redis
        self.jobs = JobsSettings(redis_url=redis.url)
        port = free_port()
        options = {"slots": 2, "rows_per_tick": 4, "stall_s": stall_s, "metrics_port": port}
        options |= {"hung_s": 600.0}
        settings = WorkerSettings.model_validate(self.jobs.model_dump() | options)
        self.host = WorkerHost(bundle, settings)
        self.url = f"http://127.0.0.1:{port}"

    async def get(self, path: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.get(f"{self.url}{path}", timeout=PATIENCE_S)

    async def says(self, path: str, status: int, word: str) -> None:
        last: list[str] = []

        async def look() -> bool:
            answer = await self.get(path)
            last[:] = [f"{answer.status_code} {answer.text}"]
            return answer.status_code == status and word in answer.text

        await until(f"{path} to say {status} {word!r}", look, seen=lambda: last)

    async def submit(self, job_id: str) -> None:
        """Store a job and have its ring answered by a thread."""
        store = RedisStore(self.jobs)
        try:
            (model,) = await until("the model", store.models)
            spec = resolve(JobRequest(prompt="a red apple", num_inference_steps=1000), model)
            await store.create(job_id, spec, units(spec, model))
        finally:
            await store.close()
        threading.Thread(target=self.host.answer, args=(job_id,), daemon=True).start()


@pytest.fixture
async def probed(bundle: Bundle, tmp_path: Path, stall_s: float) -> AsyncIterator[Probed]:
    redis = RedisProcess(tmp_path / "redis", free_port())
    redis.start()
    probed = Probed(bundle, redis, stall_s)
    yield probed
    await asyncio.to_thread(probed.host.stop)
    redis.kill()


async def test_a_worker_that_has_announced_itself_is_live_and_ready(probed: Probed) -> None:
    await probed.says("/readyz", 200, "ok")
    await probed.says("/livez", 200, "ok")
    metrics = await probed.get("/metrics")
    assert "sfumato_worker_up{" in metrics.text
    assert metrics.headers["content-type"].startswith("text/plain")
    assert (await probed.get("/else")).status_code == 404


class Hanging(Wrapped):
    """Does not come back from a forward pass until ``go_on`` is set."""

    def __init__(self, bundle: Bundle) -> None:
        super().__init__(bundle.backbone)
        self.go_on = threading.Event()

    def spoil(self, prediction: Tensor, conditions: Sequence[Condition]) -> Tensor:
        self.go_on.wait(PATIENCE_S)
        return prediction


@stalling
async def test_an_engine_that_hangs_in_a_pass_is_not_live(probed: Probed, bundle: Bundle) -> None:
    original, hanging = bundle.backbone, Hanging(bundle)
    bundle.backbone = hanging
    try:
        await probed.submit("job")
        await probed.says("/livez", 503, "not ticked")
        await probed.says("/readyz", 503, "not ticked")
    finally:
        hanging.go_on.set()
        bundle.backbone = original
    await probed.says("/livez", 200, "ok")


@stalling
async def test_an_event_loop_that_is_blocked_is_not_live(probed: Probed) -> None:
    await probed.says("/readyz", 200, "ok")
    go_on = threading.Event()
    probed.host._loop.call_soon_threadsafe(go_on.wait, PATIENCE_S)
    try:
        await probed.says("/livez", 503, "event loop")
    finally:
        go_on.set()
    await probed.says("/livez", 200, "ok")


async def test_without_redis_a_worker_is_live_and_not_ready(probed: Probed) -> None:
    await probed.says("/readyz", 200, "ok")
    await asyncio.to_thread(probed.redis.kill)
    await probed.says("/readyz", 503, "Redis has not answered")
    assert (await probed.get("/livez")).status_code == 200
    await asyncio.to_thread(probed.redis.start)
    await probed.says("/readyz", 200, "ok")


@pytest.mark.parametrize("busy", [True, False])
async def test_a_redis_that_is_full_ends_no_worker(probed: Probed, busy: bool) -> None:
    await probed.says("/readyz", 200, "ok")
    if busy:
        await probed.submit("job")
    async with Redis.from_url(probed.redis.url) as client:
        await client.config_set("maxmemory", 1)

        async def refused() -> bool:
            figures = (await probed.get("/metrics")).text
            (line,) = re.findall(r"^sfumato_worker_redis_errors_total{.*} (.*)$", figures, re.M)
            return float(line) > 3  # announcements, sweeps and what the job has to report

        await until("writes to be refused", refused)
        assert (await probed.get("/livez")).status_code == 200
        await client.config_set("maxmemory", 0)
    await probed.says("/readyz", 200, "ok")


async def test_a_draining_worker_is_live_and_not_ready(probed: Probed) -> None:
    await probed.says("/readyz", 200, "ok")
    probed.host.drain()
    await probed.says("/readyz", 503, "draining")
    assert (await probed.get("/livez")).status_code == 200


def test_a_stuck_round_counts_only_once_redis_has_answered_after_it(bundle: Bundle) -> None:
    engine, now = Bench(bundle).engine, monotonic()
    pulse = Pulse(announced_at=now - 80, round_began=now - 90)
    assert why_not_live(pulse, engine, 30) == []
    pulse.announced_at = now
    assert "publisher" in why_not_live(pulse, engine, 30)[0]
    pulse.round_began = now - 5
    assert why_not_live(pulse, engine, 30) == []
    assert why_not_ready(Pulse(), engine, 30) == ["not announced yet"]
