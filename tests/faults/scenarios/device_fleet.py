"""One device of four breaks under load and stays so: the others draw on, and no job is failed."""

import asyncio
import os

from jobs.settings import JobsSettings
from tests.faults import children
from tests.faults.client import Client
from tests.faults.outcome import Outcome
from tests.faults.processes import Worker
from tests.faults.scenarios.device import Supervised, end_of, judge, supervising, supplied
from tests.faults.stage import Stage

HEALTHY = 3
PACE_S = 0.025  # of a pass: four workers leave two processors time to spare
SLOTS, STEPS = 4, 40
JOBS_A_SECOND = (HEALTHY + 1) * SLOTS / (PACE_S * STEPS)


async def run(stage: Stage, *, window_s: float, settle_s: float, least: float) -> Outcome:
    """Compare the jobs of a window before with one that begins ``settle_s`` after the fault."""
    outcome, switch = Outcome(), stage.folder / "broken"
    settings = JobsSettings(redis_url=stage.redis().url, lease_s=2.0)
    variables = {
        "DEVICE_PACE_S": str(PACE_S), "DEVICE_FAULT": "illegal_access",
        "DEVICE_SWITCH": str(stage.folder / "never"),
    }  # fmt: skip
    how = {"target": children.faulty_worker, "slots": SLOTS, "checkpoint_s": 0.2}
    await stage.fleet(settings, HEALTHY, name="healthy", variables=variables, **how)
    client = stage.client(settings)

    def start(name: str) -> Worker:
        own = variables | {"DEVICE_SWITCH": str(switch)}
        return stage.worker(settings, name, variables=own, **how)

    async with supervising(Supervised(start)) as child:
        await client.workers({"faulty0"})
        jobs = round(JOBS_A_SECOND * (2 * window_s + settle_s + 2))
        async with supplied(client, jobs, STEPS) as names:
            await client.all_ended(1, 300)
            while not (before := await rate(client, window_s)):
                pass  # the machine stood still
            switch.touch()
            code, ended_s = await end_of(child.ever[0], stage.clock)
        outcome.expect(code == os.EX_SOFTWARE, f"it exits with {os.EX_SOFTWARE}, not {code}")
        await asyncio.sleep(max(0.0, settle_s - ended_s))
        after = await rate(client, window_s)
        outcome.note("restarts", len(child.starts) - 1)
    outcome.note("jobs_per_s_before", round(before, 1))
    outcome.note("throughput_left", round(after / before, 3))
    outcome.expect(after >= least * before, f"{least:.0%} of the throughput is left")
    await client.all_ended(len(names), 300)
    judge(outcome, [await client.store.get(name) for name in names])
    return outcome


async def rate(client: Client, seconds: float) -> float:
    """Return how many jobs end a second over a while."""
    began = await client.count_ended()
    await asyncio.sleep(seconds)
    return (await client.count_ended() - began) / seconds
