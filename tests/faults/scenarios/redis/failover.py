"""The primary Redis dies with its machine, and a replica that was behind takes over."""

import asyncio

from jobs.schema import Durable
from jobs.settings import JobsSettings
from tests.faults.client import until
from tests.faults.outcome import Outcome
from tests.faults.scenarios.lost import count_lost
from tests.faults.scenarios.submitter import submitting
from tests.faults.stage import Stage


async def run(stage: Stage, *, durable: Durable, calm_s: float, behind_s: float) -> Outcome:
    """What the replica has goes on; what was acknowledged as strict is never lost."""
    outcome = Outcome()
    primary = stage.redis(name="primary")
    link, front = await stage.relay(primary.port), await stage.relay(primary.port)
    replica = stage.redis("--replicaof", f"127.0.0.1 {link.port}", name="replica")
    settings = JobsSettings(
        redis_url=f"redis://127.0.0.1:{front.port}/0", durable=durable, durable_replicas=1,
        durable_timeout_s=2.0,
    )  # fmt: skip
    fleet = await stage.fleet(settings, 2)
    client = stage.client(settings)
    door = stage.door(settings)
    behind = stage.connect(replica)

    async def in_step() -> bool:
        return bool((await behind.info("replication"))["master_link_status"] == "up")

    await until("the replica", in_step)
    async with submitting(door, 4, pause_s=0.1) as submitter:
        await asyncio.sleep(calm_s)
        link.stall()
        safe = len(submitter.accepted)
        await asyncio.sleep(behind_s)
        primary.kill()
        front.switch(None)
        acknowledged = len(submitter.accepted)
        link.switch(None)
        await behind.replicaof("NO", "ONE")
        front.switch(replica.port)
        while len(submitter.accepted) == acknowledged and durable == "relaxed":
            await asyncio.sleep(0.02)
        await asyncio.sleep(1.0)
    outcome.note("acknowledged", acknowledged)
    outcome.note("while_behind", acknowledged - safe)
    lost = await count_lost(client, submitter.accepted, outcome)
    outcome.note("lost", lost)
    outcome.note("refused", submitter.answers[503])
    wrong = {k: v for k, v in submitter.answers.items() if k not in (202, 503)}
    outcome.expect(not wrong, f"an answer is 202 or 503, not {wrong}")
    outcome.expect(all(worker.alive for worker in fleet), "every worker lives on")
    if durable == "strict":
        outcome.expect(lost == 0, f"nothing acknowledged is lost, {lost} were")
        outcome.expect(submitter.answers[503] > 0, "what cannot be confirmed is refused")
    return outcome
