"""A worker stands still past its lease and wakes when its jobs are another's."""

from jobs.settings import JobsSettings
from tests.faults.client import until
from tests.faults.outcome import Outcome
from tests.faults.scenarios.audit import audit
from tests.faults.stage import Stage


async def run(stage: Stage, *, stalls: int) -> Outcome:
    """Every write of the stale claim is refused: its attempt is never heard of again."""
    outcome = Outcome()
    settings = JobsSettings(redis_url=stage.redis().url, lease_s=1.2)
    fleet = await stage.fleet(settings, 2, checkpoint_s=0.2, renew_s=0.3, publish_s=0.05)
    client = stage.client(settings)
    stale_events = 0
    names = [f"job{number}" for number in range(stalls)]
    for name in names:
        await client.submit(name, num_inference_steps=120)
        holder = fleet.get((await client.at_step(name, 10)).worker)
        holder.freeze()

        async def elsewhere(name: str = name) -> bool:
            return (await client.store.get(name)).attempts >= 2

        await until(f"another claim of {name}", elsewhere)
        holder.thaw()
        record = await client.ended(name)
        attempts = [event.attempt async for event in client.store.events(name)]
        stale_events += sum(a < b for a, b in zip(attempts[1:], attempts, strict=False))
        outcome.expect(record.worker != holder.name, f"{name} ends with another worker")
    await audit(client, names, outcome)
    refused = sum(w.log.read_text().count("job is no longer ours") for w in fleet)
    outcome.note("stalls", stalls)
    outcome.note("refused", refused)
    outcome.note("stale_writes", stale_events)
    outcome.expect(refused >= stalls, f"each stale claim is refused, {refused} were")
    outcome.expect(stale_events == 0, f"no stale write gets through, {stale_events} did")
    return outcome
