"""Workers and doors of the former version and of this one work on one Redis.

The former version is the previous commit's code, started by its commands on today's libraries.
"""

import asyncio
import io
import subprocess
import tarfile
from pathlib import Path

import httpx

from jobs.settings import JobsSettings
from tests.faults.children import repository
from tests.faults.client import Client
from tests.faults.outcome import Outcome
from tests.faults.scenarios.audit import audit
from tests.faults.scenarios.submitter import door_ready
from tests.faults.stage import Fleet, Stage
from tests.processes import PATIENCE_S

FORMER = "HEAD~1"
PACKAGES = ("service", "jobs", "workers", "diffusion", ":!diffusion/models")


def missing() -> str | None:
    """Return what the scenario lacks: a checkout has its history, an archive has not."""
    words = ["git", "-C", str(repository()), "rev-parse", "--verify", "-q", f"{FORMER}^{{commit}}"]
    try:
        found = subprocess.run(words, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return "git"
    return None if found else f"commit {FORMER} in the git history"


def former_code(folder: Path) -> Path:
    """Write the former version's packages into a folder; return it."""
    words = ["git", "-C", str(repository()), "archive", FORMER, "--", *PACKAGES]
    packed = subprocess.run(words, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    return folder


async def run(stage: Stage, *, jobs: int, steps: int) -> Outcome:
    """Jobs of both are drawn by both; what one gives back or loses, the other goes on with."""
    outcome = Outcome()
    settings = JobsSettings(redis_url=stage.redis().url, lease_s=6.0)
    code = former_code(stage.folder / "former")
    former, ours = await asyncio.gather(
        stage.fleet(settings, 1, name="former", code=code, checkpoint_s=0.3),
        stage.fleet(settings, 1, name="new", checkpoint_s=0.3),
    )
    client = stage.client(settings)
    await client.model()
    probes = [*await _listening(client, former), *await _listening(client, ours)]
    mine = [f"job{i}" for i in range(jobs)]
    theirs = asyncio.create_task(_submit(stage.door(settings, code=code).url, jobs, steps))
    await asyncio.gather(*(client.submit(name, num_inference_steps=steps) for name in mine))
    names = [*mine, *await theirs]
    await client.all_ended(2 * jobs + len(probes), 300)
    records = await audit(client, [*probes, *names], outcome)
    for kind, fleet in (("former", former), ("new", ours)):
        drawn = sum(record.worker in fleet.names for record in records)
        outcome.note(f"drawn_by_{kind}", drawn)
        outcome.expect(drawn > 0, f"the {kind} version's worker takes part")
    left = [f"stop-{fleet.workers[0].name}" for fleet in (former, ours)]
    repeated = await _hand_over(client, former, ours, left[0], die=False)
    repeated += await _hand_over(client, ours, former, left[1], die=False)
    outcome.note("repeated_steps", repeated)
    outcome.expect(repeated == 0, f"what is given back goes on where it was: {repeated}")
    await _hand_over(client, former, ours, "lost", die=True)
    all_names = [*probes, *names, *left, "lost"]
    records = await audit(client, all_names, outcome)
    backlog = await client.store.backlog("tiny")
    outcome.expect((backlog.units, backlog.pending_jobs) == (0, 0), f"no work is left: {backlog}")
    unlisted = set(all_names) - await _listed(client)
    outcome.expect(not unlisted, f"every job is listed: {sorted(unlisted)[:5]}")
    return outcome


async def _listening(client: Client, fleet: Fleet) -> list[str]:
    """Submit small jobs until the worker draws one; return them all."""
    sent: list[str] = []
    while True:
        sent.append(f"probe-{fleet.workers[0].name}-{len(sent)}")
        await client.submit(sent[-1], num_inference_steps=4)
        if (await client.ended(sent[-1])).worker == fleet.workers[0].name:
            return sent


async def _listed(client: Client) -> set[str]:
    found: set[str] = set()
    page = await client.store.list(tenant="public", limit=100)
    while True:
        found |= {record.id for record in page.records}
        if page.cursor is None:
            return found
        page = await client.store.list(tenant="public", limit=100, cursor=page.cursor)


async def _submit(url: str, count: int, steps: int) -> list[str]:
    """Submit jobs at the former version's door; return their ids."""
    body = {"prompt": "a red apple", "seed": 5, "preview": 0, "num_inference_steps": steps}
    async with httpx.AsyncClient(base_url=url, timeout=PATIENCE_S) as http:
        await door_ready(http)
        answers = [await http.post("/v1/jobs", json=body) for _ in range(count)]
    return [str(answer.raise_for_status().json()["id"]) for answer in answers]


async def _hand_over(client: Client, giver: Fleet, taker: Fleet, job: str, *, die: bool) -> float:
    """Let one worker begin a job and the other end it; return the steps done again."""
    giver.restart()
    await client.workers(giver.names)
    await asyncio.to_thread(taker.workers[0].stop)
    await client.submit(job, num_inference_steps=1000, sampler="heun")
    await client.at_step(job, 30)
    giving = giver.workers[0]
    taker.restart()
    await (asyncio.to_thread(giving.kill) if die else asyncio.to_thread(giving.stop))
    record = await client.ended(job, 300)
    assert record.worker == taker.workers[0].name, f"{record.worker} drew {job}"
    return record.evaluations - record.units
