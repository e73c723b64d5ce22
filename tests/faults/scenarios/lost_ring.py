"""A worker dies between taking a ring off the queue and answering it."""

import asyncio

from jobs.queue import queue_name
from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from tests.faults.outcome import Outcome
from tests.faults.scenarios.audit import audit
from tests.faults.stage import Stage


async def run(stage: Stage, *, rounds: int) -> Outcome:
    """The sweep makes up for the ring: the job starts within seconds."""
    outcome = Outcome()
    server = stage.redis()
    settings = JobsSettings(redis_url=server.url, lease_s=3.0)
    fleet = await stage.fleet(settings, 2)
    client = stage.client(settings)
    model = (await client.model()).name
    redis = stage.connect(server)
    queue = queue_name(settings, model)
    waits: list[float] = []
    names: list[str] = []
    while len(waits) < rounds:
        await client.workers(fleet.names)
        await asyncio.sleep(0.2)  # both have gone back to wait for rings
        for worker in fleet:
            worker.freeze()
        pair = [f"job{len(names) + place}" for place in range(2)]
        for name in pair:
            await client.submit(name, num_inference_steps=4)
        names += pair
        await asyncio.sleep(0.2)
        taken = await redis.llen(queue) == 0
        if taken:  # each worker was waiting just then and has a ring in its socket
            fleet.workers[0].kill()
        began = stage.clock()
        for worker in fleet:
            worker.thaw()
        for name in pair:
            await client.ended(name)
        if taken:
            waits.append(stage.clock() - began)
        fleet.restart()
    records = await audit(client, names, outcome)
    outcome.note("rounds", rounds)
    outcome.spread("pickup_s", waits)
    outcome.expect(all(r.status is JobStatus.SUCCEEDED for r in records), "every job is drawn")
    outcome.expect(max(waits) <= 10, f"the job whose ring was lost ends within 10 s: {waits}")
    return outcome
