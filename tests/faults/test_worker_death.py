"""A worker killed with -9: its jobs go on elsewhere and end in the same pictures."""

from functools import partial
from time import monotonic

import pytest

from jobs.settings import JobsSettings
from tests.faults.client import Client, until
from tests.faults.conftest import Start

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]
CHECKPOINT_S = 0.3
LEASE_S = 2.0


async def test_kill_at_any_step_ends_in_the_same_picture(
    start: Start, client: Client, jobs_settings: JobsSettings
) -> None:
    options = {"num_inference_steps": 240, "sampler": "dpmpp_2m_sde"}
    start = partial(start, settings=jobs_settings.model_copy(update={"lease_s": LEASE_S}))
    first = start("first", checkpoint_s=CHECKPOINT_S)
    await client.workers({"first"})
    await client.submit("undisturbed", **options)
    expected = await client.picture("undisturbed")
    calm = await client.store.get("undisturbed")
    speed = calm.evaluations / calm.running_s
    second = start("second", checkpoint_s=CHECKPOINT_S)
    await client.workers({"second"})
    workers = {"first": first, "second": second}
    for kill, step in enumerate((5, 100, 200)):
        job = f"job{kill}"
        await client.submit(job, **options)
        holder = (await client.at_step(job, step)).worker
        assert holder is not None
        workers[holder].kill()
        killed_at = monotonic()
        await until("another claim", lambda job=job: _attempt(client, job, 2))  # type: ignore[misc]
        assert monotonic() - killed_at < LEASE_S + 4, "a lease and a sweep"
        assert await client.picture(job) == expected
        record = await client.store.get(job)
        again = record.evaluations - calm.evaluations
        # What lies between the last checkpoint and the kill, and a checkpoint's own delay.
        assert again <= speed * (CHECKPOINT_S + 0.7), f"{again} rows were evaluated again"
        if kill < 2:
            workers[holder] = start(holder, checkpoint_s=CHECKPOINT_S)
            await client.workers({holder})


async def _attempt(client: Client, job: str, attempt: int) -> bool:
    return (await client.store.get(job)).attempts >= attempt
