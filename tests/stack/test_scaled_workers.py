"""Workers under Ray come with the backlog, go without it, and leave no job behind."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from diffusion.bundle.bundle import load_bundle
from jobs.settings import JobsSettings
from tests.faults.client import Client
from tests.processes import process, wait
from tests.stack.scaled import Watch, all_succeeded, give_load, scaled_up
from tests.stack.up import MARK, end_marked, marked
from workers.engine.calibrate import measure
from workers.runtime.catalogue import model_entry

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.mark.full
@pytest.mark.alone
async def test_workers_follow_the_backlog_from_zero_and_back_and_no_job_is_lost(
    jobs_settings: JobsSettings, tiny: Path, tmp_path: Path
) -> None:
    client = Client(jobs_settings)
    bundle = load_bundle(tiny)
    speed = measure(bundle, 8).rows_per_s
    await client.store.announce_model(
        model_entry(bundle.info, bundle.noise_schedule, units_per_s=speed)
    )
    stack = scaled_up(
        tmp_path / "data", tiny, 2, jobs_settings, ray_target_s=3, ray_upscale_delay_s=0.2,
        ray_downscale_delay_s=0.5, ray_idle_s=1,
    )  # fmt: skip
    watch = Watch(client)
    try:
        await asyncio.to_thread(stack.ready)  # at none: the model is known
        names = await give_load(client, "job", seconds=9, jobs=12)
        up_s = await watch.reach(2)
        down_s = await watch.reach(1)
        await all_succeeded(client, names)
        gone_s = await watch.reach(0)
        print(
            f"0 to 2 in {up_s:.1f} s, to 1 in {down_s:.1f} s, to 0 in {gone_s:.1f} s: {watch.seen}"
        )
        assert (await client.store.backlog("tiny")).units == 0
        assert await asyncio.to_thread(stack.stop) == 0
        assert stack.gone(0) == {}
    finally:
        await watch.close()
        await client.close()
        print(stack.story())
        stack.end()


HOLDER = """
import os, sys, time
from service.processes.worker_process import WorkerProcess, own_metrics_port
port = own_metrics_port("127.0.0.1", 0, 0)
WorkerProcess("held", os.environ, ("127.0.0.1", port), 20.0)
print("holding", flush=True)
time.sleep(600)
"""


@pytest.mark.full
async def test_a_worker_gives_its_jobs_back_and_ends_when_who_started_it_is_killed(
    jobs_settings: JobsSettings, tiny: Path, tmp_path: Path
) -> None:
    client = Client(jobs_settings)
    mark = os.urandom(8).hex()
    env = {
        MARK: mark, "sfumato_redis_url": jobs_settings.redis_url, "sfumato_rows_per_tick": 8,
        "sfumato_key_prefix": jobs_settings.key_prefix, "sfumato_model": tiny, "sfumato_threads": 1,
    }  # fmt: skip
    try:
        with process([sys.executable, "-c", HOLDER], tmp_path / "held.log", **env) as holder:
            await client.workers({"held"})
            await client.submit("job", num_inference_steps=1000, sampler="heun", num_images=8)
            await client.at_step("job", 5)
            holder.kill()
        record = await client.seen("given back", "job", lambda job: job.status == "queued")
        assert (record.deaths, record.step > 0) == (0, True)  # drained, not reaped
        await asyncio.to_thread(wait, "the worker's end", lambda: not marked(mark))
    finally:
        end_marked(mark)
        await client.close()
