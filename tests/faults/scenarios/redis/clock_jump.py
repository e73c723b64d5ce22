"""Clocks jump: that of Redis by an hour forth and back, those of workers are an hour off."""

import asyncio
from pathlib import Path

from jobs.settings import JobsSettings
from service.processes.redis_server import wheel_binary
from tests.faults.children import slow_while
from tests.faults.outcome import Outcome
from tests.faults.scenarios.audit import audit
from tests.faults.stage import Stage
from tests.needs import path_of

LIMIT_S = 10.0


def set_clock(path: Path, offset: str) -> None:
    """Set the clock of the processes that read this file, which is replaced whole."""
    written = path.with_suffix(".new")
    written.write_text(offset)
    written.rename(path)


async def run(stage: Stage, *, jobs: int, lease_s: float, workers_off: bool) -> Outcome:
    """Nobody loses a job by a jump, and a worker's death is found after one as before."""
    outcome = Outcome()
    preload = Path(path_of("libfaketime"))
    clock = stage.folder / "clock"
    set_clock(clock, "+0s")
    faked = {
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    # Debian's Redis does not start under libfaketime: both stand in for the allocator's calls.
    server = stage.redis(binary=wheel_binary(), env=faked | {"LD_PRELOAD": str(preload)})
    settings = JobsSettings(redis_url=server.url, lease_s=lease_s)
    switch = stage.folder / "slow"
    fleet = await stage.fleet(settings, 2, checkpoint_s=0.3, **slow_while(switch))
    if workers_off:
        off = {"FAKETIME": "-1h", "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        await stage.fleet(settings, 1, name="off", preload=preload, variables=off, checkpoint_s=0.3)
    client = stage.client(settings)
    names = await client.submit_many(jobs, steps=150)
    for share, jump in ((8, "+3600s"), (4, "-3600s")):
        await client.all_ended(jobs // share, 300)
        set_clock(clock, jump)
        await asyncio.sleep(lease_s / 2 + 1.5)  # sweeps look at the new time
    deaths = [(await client.store.get(name)).deaths for name in names]
    reaped = (await client.store.totals()).leases_reaped
    outcome.expect(not any(deaths) and not reaped, f"a jump reaps no lease, not {reaped}")
    switch.touch()  # none of the next jobs ends before it is looked at
    late = await client.submit_many(8, steps=600, prefix="late")
    await client.at_step(late[0], 5)
    busy, *_ = [worker for worker in fleet if await client.held_by(worker.name)]
    set_clock(clock, "-7200s")  # the leases of the dead lie an hour ahead
    busy.kill()
    switch.unlink()
    began = stage.clock()
    await client.emptied(busy.name)
    outcome.note("recovery_s", took_s := stage.clock() - began)
    outcome.expect(took_s <= LIMIT_S, f"a death after a jump is found in {LIMIT_S} s")
    await client.all_ended(jobs + len(late), 300)
    records = await audit(client, [*names, *late], outcome)
    outcome.expect(all(r.running_s >= 0 for r in records), "no time is negative")
    return outcome
