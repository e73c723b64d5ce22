"""The door is killed with -9 while clients submit."""

import asyncio
import random
from functools import partial

from jobs.settings import JobsSettings
from tests.faults.client import until
from tests.faults.outcome import Outcome
from tests.faults.scenarios.audit import audit
from tests.faults.scenarios.submitter import Submitter, door_ready, submitting
from tests.faults.stage import Stage


async def run(stage: Stage, *, kills: int) -> Outcome:
    """Every id that was acknowledged completes."""
    outcome, chooser = Outcome(), random.Random(4)
    settings = JobsSettings(redis_url=stage.redis().url)
    await stage.fleet(settings, 2)
    client = stage.client(settings)
    door = stage.door(settings)
    async with submitting(door, 8, pause_s=0.05) as submitter:
        for _ in range(kills):
            await asyncio.sleep(chooser.uniform(0.5, 1.5))
            cut_off = submitter.answers[0]
            door.kill()
            await until("a submission to be cut off", partial(_more_cut_off, submitter, cut_off))
            door.start()
            await door_ready(submitter.http)
    stored = (await client.store.totals()).created
    await client.all_ended(stored, 300)
    checked = Outcome()
    await audit(client, submitter.accepted, checked)
    outcome.note("acknowledged", len(submitter.accepted))
    outcome.note("completed", checked.figures["jobs"])
    outcome.note("cut_off", submitter.answers[0])
    outcome.note("kept_though_cut_off", stored - len(submitter.accepted))
    outcome.expect(
        checked.figures["lost"] == 0, f"every acknowledged id completes: {checked.broken}"
    )
    outcome.expect(submitter.answers[0] > 0, "a kill meets a submission")
    return outcome


async def _more_cut_off(submitter: Submitter, than: int) -> bool:
    return submitter.answers[0] > than
