"""Which job is preempted, and that nothing is drawn twice for it."""

import asyncio
import threading

import pytest

from diffusion.bundle.bundle import Bundle
from jobs.schema import JobRecord, JobStatus, Priority
from jobs.store import Checkpoint, Claim, Lease
from jobs.telemetry.tracing import OFF
from tests.faults.client import until
from tests.jobs.examples import checkpoint, spec
from tests.processes import PATIENCE_S
from tests.workers.harness import Bench
from tests.workers.inside import Inside
from workers.engine.messages import ImageProgress
from workers.ops.metrics import Counters
from workers.runtime.active_jobs import ActiveJobs
from workers.runtime.attempt import Attempt
from workers.runtime.preemption import lowest_rank, to_preempt
from workers.runtime.run import Run, open_run

LONG = {"sampler": "euler_ancestral", "num_inference_steps": 200}
QUICK = {"park_after_s": 0.02, "renew_s": 0.05}
one_slot = pytest.mark.parametrize(
    "inside",
    [{"slots": 1, "rows_per_tick": 2, "deterministic": True, **QUICK}],
    indirect=True,
)


def run_of(job_id: str, rank: int, row: int, rows: int = 10, evaluated: int = 1) -> Run:
    """Return a run that holds a slot."""
    wanted = spec(priority=list(Priority)[rank])
    record = JobRecord(
        id=job_id, status=JobStatus.RUNNING, spec=wanted, units=rows, total_steps=rows,
        created_at=0.0, queued_at=0.0,
    )  # fmt: skip
    claim = Claim(record, Lease(job_id, "toy", "w", "1-f"), rank=rank)
    run = open_run(claim, 1.0, Attempt(OFF, claim, 0))
    run.waiting.clear()
    run.in_slots.add(0)
    run.progress[0] = ImageProgress(job_id, 0, row, rows, row, evaluated)
    return run


async def test_a_job_that_died_without_a_checkpoint_proves_itself_early() -> None:
    def early(deaths: int, *checkpoints: Checkpoint) -> bool:
        record = run_of("job", 0, 0).claim.record.model_copy(update={"deaths": deaths})
        claim = Claim(record, Lease("job", "toy", "w", "1-f"), checkpoints)
        return open_run(claim, 1.0, Attempt(OFF, claim, 0)).waiting[0].early

    assert (early(0), early(1), early(2)) == (False, True, True)
    assert not early(1, checkpoint(3))


async def test_the_most_work_left_of_the_lowest_class_is_preempted() -> None:
    runs = [run_of("high", 0, 0), run_of("a", 1, 0), run_of("b", 2, 5), run_of("c", 2, 3)]
    assert to_preempt(runs, 0) is runs[3]
    assert lowest_rank(runs) == 2
    assert to_preempt(runs[:1], 0) is None
    assert to_preempt(runs, 2) is None


async def test_a_job_that_has_not_moved_since_it_came_is_not_preempted_again() -> None:
    runs = [run_of("back", 2, 50, rows=100, evaluated=0), run_of("other", 1, 3)]
    assert lowest_rank(runs) == 1
    assert to_preempt(runs, 0) is runs[1]


async def test_an_answer_about_an_earlier_claim_does_not_end_a_later_one(bundle: Bundle) -> None:
    engine = Bench(bundle).engine
    jobs = ActiveJobs(engine, Counters("tiny", engine, 1))
    earlier, later = run_of("job", 1, 3), run_of("job", 1, 3)
    jobs.close(earlier, None)
    jobs.runs["job"] = later
    jobs.lose([earlier])
    assert later.leaving is None


async def returned(inside: Inside, attempts: int) -> None:
    """Wait until the low job has been given back, and answer the ring of its return."""

    async def look() -> bool:
        low = await inside.store.get("low")
        return low.status is JobStatus.QUEUED or low.attempts > attempts

    await until("the low job's return", look)
    inside.threads.submit(inside.host.answer, "low")


@one_slot
async def test_a_preempted_job_repeats_nothing_and_draws_the_same_image(inside: Inside) -> None:
    await inside.submit("calm", **LONG)
    calm = await inside.ended("calm")
    with inside.held("low"):
        await inside.submit("low", priority="low", **LONG)
        await inside.moving("low", 10)
        await inside.submit("high", priority="high", num_inference_steps=5)
        assert (await inside.ended("high")).status is JobStatus.SUCCEEDED
    await returned(inside, attempts=1)
    low = await inside.ended("low")
    assert (low.status, low.attempts, low.deaths) == (JobStatus.SUCCEEDED, 2, 0)
    assert low.evaluations == calm.evaluations == 400, "preemption repeated a step"
    images = [(await inside.store.image(name, 0)).data for name in ("calm", "low")]
    assert images[0] == images[1]


@one_slot
async def test_a_full_worker_claims_for_what_it_preempts_unasked(inside: Inside) -> None:
    with inside.held("low"):
        await inside.submit("low", priority="low", **LONG)
        await inside.moving("low", 10)
        # Its ring is held elsewhere.
        await inside.create("high", priority="high", num_inference_steps=5)
        assert (await inside.ended("high")).status is JobStatus.SUCCEEDED
    assert (await inside.store.get("low")).attempts == 1


class SlowBell:
    """A doorbell that rings once ``go_on`` is set."""

    def __init__(self) -> None:
        self.go_on = threading.Event()

    async def ring(self, model: str, job_id: str) -> None:
        """Return a while later."""
        await asyncio.to_thread(self.go_on.wait, PATIENCE_S)


@one_slot
async def test_a_job_that_comes_back_while_it_is_still_given_back_is_drawn(inside: Inside) -> None:
    publisher, bell = vars(inside.host.served["tiny"].runtime)["_publisher"], SlowBell()
    vars(publisher)["_doorbell"] = bell
    with inside.held("low"):
        await inside.submit("low", priority="low", **LONG)
        await inside.moving("low", 10)
        await inside.submit("high", priority="high", num_inference_steps=5)
        await inside.seen("the second claim", "low", lambda record: record.attempts == 2)
    bell.go_on.set()
    low = await inside.ended("low")
    assert (low.status, low.attempts, low.deaths) == (JobStatus.SUCCEEDED, 2, 0)


@pytest.mark.parametrize("inside", [{"slots": 1, "class_share": 0.3, **QUICK}], indirect=True)
async def test_a_stream_of_higher_jobs_lets_a_preempted_one_through(inside: Inside) -> None:
    count = 0

    async def keep_highs_waiting() -> None:
        nonlocal count
        for _ in range(4 - (await inside.store.backlog("tiny")).pending_jobs):
            await inside.submit(f"high{count}", priority="high", num_inference_steps=20)
            count += 1

    async def low_ended() -> bool:
        await keep_highs_waiting()
        low = await inside.store.get("low")
        if low.status is JobStatus.QUEUED:
            inside.threads.submit(inside.host.answer, "low")  # the ring of its return
        return low.status.ended

    with inside.held("low"):
        await inside.submit("low", priority="low", num_inference_steps=100)
        await inside.moving("low", 10)
        await keep_highs_waiting()
        await returned(inside, attempts=1)
    await until("the end of a low job beside high ones", low_ended)
    low = await inside.store.get("low")
    assert low.status is JobStatus.SUCCEEDED
    assert low.evaluations == 200
    assert low.attempts > 1


@one_slot
async def test_a_short_job_of_another_tenant_does_not_wait_for_a_long_one(inside: Inside) -> None:
    await inside.submit("calm", **LONG)
    calm = await inside.ended("calm")
    with inside.held("long"):
        await inside.submit("long", tenant="greedy", **LONG)
        await inside.moving("long", 10)
        await inside.create("short", tenant="small", num_inference_steps=4)  # its ring is elsewhere
        assert (await inside.ended("short")).status is JobStatus.SUCCEEDED
        long = await inside.store.get("long")
        assert not long.status.ended
    inside.threads.submit(inside.host.answer, "long")
    long = await inside.ended("long")
    assert (long.status, long.attempts) == (JobStatus.SUCCEEDED, 2)
    assert long.evaluations == calm.evaluations, "preemption repeated a step"
    images = [(await inside.store.image(name, 0)).data for name in ("calm", "long")]
    assert images[0] == images[1]


@pytest.mark.parametrize(
    "inside", [{"slots": 3, "rows_per_tick": 3, "deterministic": True, **QUICK}], indirect=True
)
async def test_a_tenant_with_every_slot_gives_one_to_another(inside: Inside) -> None:
    """However many pictures and jobs of it wait here, and however long the other's job is."""
    with inside.held("a", "b", "other"):
        for name in ("a", "b"):
            await inside.submit(name, tenant="greedy", num_images=4, **LONG)
        await inside.moving("a", 10)
        await inside.create("other", tenant="small", num_inference_steps=400)
        await inside.moving("other", 1)
        records = [await inside.store.get(name) for name in ("a", "b")]
        assert any(not record.status.ended for record in records)
        assert (await inside.store.get("other")).status is JobStatus.RUNNING
