"""An outage of Redis under load: the answers that clients get, and the fate of their jobs."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic

from jobs.settings import JobsSettings
from tests.faults.client import Client, until
from tests.faults.outcome import Outcome
from tests.faults.scenarios.audit import audit
from tests.faults.scenarios.submitter import Submitter, submitting
from tests.faults.stage import Fleet, Stage

QUIET_S = 1.5  # of submissions before the outage
AFTER_S = 1.0  # and once jobs are taken on again


@dataclass
class Outage:
    """Clients that submit before, during and after an outage."""

    submitter: Submitter
    client: Client
    fleet: Fleet

    async def begins(self, for_s: float) -> None:
        """Wait so many seconds, and until a client has been refused."""
        answers = self.submitter.answers
        await asyncio.sleep(for_s)

        async def refused() -> bool:
            return answers[503] > 0

        await until("a refusal", refused, seen=lambda: answers)

    async def ends(self, outcome: Outcome) -> None:
        """Wait until a job is taken on, and note how long that takes from now."""
        began, before = monotonic(), len(self.submitter.accepted)

        async def accepted() -> bool:
            return len(self.submitter.accepted) > before

        await until("a job to be taken on", accepted, seen=lambda: self.submitter.answers)
        outcome.note("accepting_again_s", monotonic() - began)

    async def judge(self, outcome: Outcome) -> None:
        """Expect that every answer was 202 or 503, and that every 202 was kept."""
        answers = self.submitter.answers
        wrong = {status: times for status, times in answers.items() if status not in (202, 503)}
        outcome.expect(not wrong, f"an answer is 202 or 503, not {wrong}")
        outcome.expect(answers[503] > 0, f"a submission is refused with 503: {answers}")
        outcome.expect(not self.submitter.untimed, "every 503 says when to come back")
        stored = (await self.client.store.totals()).created
        await self.client.all_ended(stored, 300)
        checked = Outcome()
        records = await audit(self.client, self.submitter.accepted, checked)
        outcome.note("accepted", len(self.submitter.accepted))
        outcome.note("refused", answers[503])
        outcome.note("lost", checked.figures["lost"])
        outcome.note("kept_though_refused", stored - len(self.submitter.accepted))
        lost = checked.figures["lost"]
        outcome.expect(lost == 0, f"every accepted job completes: {checked.broken}")
        outcome.expect(not any(record.deaths for record in records), "no worker is counted as dead")
        outcome.expect(all(worker.alive for worker in self.fleet), "every worker lives on")


@asynccontextmanager
async def outage(stage: Stage, settings: JobsSettings, outcome: Outcome) -> AsyncIterator[Outage]:
    """Submit to a door with two workers for the length of the block; judge the result then."""
    fleet = await stage.fleet(settings, 2)
    client = stage.client(settings)
    async with submitting(stage.door(settings), 4, pause_s=0.1) as submitter:
        await asyncio.sleep(QUIET_S)
        found = Outage(submitter, client, fleet)
        yield found
        await asyncio.sleep(AFTER_S)
    await found.judge(outcome)
