"""Two models on one worker that can hold one, under alternating load, beside a worker for each."""

import asyncio
import json
import random
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from diffusion.bundle.contents import weight_bytes
from jobs.catalogue import resolve, units
from jobs.schema import JobRequest, JobStatus, Previews
from jobs.settings import JobsSettings
from tests.bundles import named
from tests.faults.client import Client, until
from tests.faults.stage import Stage
from workers.pool import ModelState
from workers.settings import DEFAULT_MODEL

JOBS = 200
EVERY_S = 0.4  # in the mean
BURST = 10  # jobs of one model, one after the other
STEPS = 15
Arrivals = Sequence[tuple[float, str]]


def measure() -> dict[str, Any]:
    """Return latencies in seconds, and the bound that they are to keep."""
    return asyncio.run(_measure())


async def _measure() -> dict[str, Any]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        models = [DEFAULT_MODEL, named(Path(shutil.copytree(DEFAULT_MODEL, folder / "b")), "b")]
        arrivals = _arrivals(("emoji", "b"))
        memory = max(map(weight_bytes, models))
        own = [
            await _run(folder / f"own{i}", [model], [a for a in arrivals if a[1] == which])
            for i, (model, which) in enumerate(zip(models, ("emoji", "b"), strict=True))
        ]
        pool = await _run(folder / "pool", models, arrivals, model_memory=memory)
    alone_s = fmean([own[0]["mean_s"], own[1]["mean_s"]])
    bound_s = 2 * alone_s + pool["switches"] * pool["switch_s"]
    state = ModelState("", 0, pool["switch_s"], 0, 0.0, 0.0, busy=True, loaded_s=0.0, idle_s=0.0)
    return {
        "jobs": JOBS,
        "own_workers_mean_s": round(alone_s, 3),
        **pool,
        "bound_mean_s": round(bound_s, 3),
        "bound_wait_s": round(2 * (2 * state.turn_s + pool["switch_s"] + 1.0), 3),
    }


def _arrivals(models: Sequence[str]) -> Arrivals:
    chooser, clock, found = random.Random(1), 0.0, []
    for number in range(JOBS):
        clock += chooser.expovariate(1 / EVERY_S)
        found.append((clock, models[number // BURST % len(models)]))
    return found


async def _run(
    folder: Path, models: Sequence[Path], arrivals: Arrivals, **settings: Any
) -> dict[str, Any]:
    async with Stage(folder, models[0]) as stage:
        jobs = JobsSettings(redis_url=stage.redis().url)
        others = {"pool": ",".join(map(str, models[1:]))} if len(models) > 1 else {}
        worker = stage.worker(jobs, "w", slots=20, rows_per_tick=16, **others, **settings)
        client = stage.client(jobs)

        async def all_known() -> bool:
            return len(await client.store.models()) == len(models)

        await until("the models", all_known)
        began, names = monotonic(), list[str]()
        for at, model in arrivals:
            await asyncio.sleep(max(0.0, began + at - monotonic()))
            names.append(f"job{len(names)}")
            await _submit(client, names[-1], model)
        records = [await client.ended(name, 300) for name in names]
        latencies = [
            record.finished_at - record.created_at for record in records if record.finished_at
        ]
        waits = [r.started_at - r.created_at for r in records if r.started_at]
        loads = [
            json.loads(line)["load_s"]
            for line in worker.log.read_text().splitlines()
            if line.startswith("{") and '"model loaded"' in line
        ]
    return {
        "lost": sum(record.status is not JobStatus.SUCCEEDED for record in records),
        "mean_s": round(fmean(latencies), 3),
        "longest_wait_s": round(max(waits), 3),
        "switches": len(loads),
        "switch_s": round(fmean(loads), 3) if loads else 0.0,
    }


async def _submit(client: Client, job_id: str, model: str) -> None:
    entries = {entry.name: entry for entry in await client.store.models()}
    request = JobRequest(
        prompt="a red apple", num_inference_steps=STEPS, model=model, preview=Previews(every=0)
    )
    spec = resolve(request, entries[model])
    await client.store.create(job_id, spec, units(spec, entries[model]))
    await client.bell.ring(model, job_id)
