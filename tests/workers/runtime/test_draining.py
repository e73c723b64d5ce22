"""A worker that has begun to drain, without Celery around it."""

import asyncio
import threading
from typing import Any

import pytest
from torch import Tensor

from diffusion.bundle.bundle import Bundle
from jobs.errors import StoreUnavailable
from jobs.schema import JobStatus
from tests.faults.client import until
from tests.faults.devices import Faulty
from tests.processes import PATIENCE_S
from tests.workers.inside import Inside

SHORT_S = 1.5
LONGER_S = 4.0  # so that a wait for the processor is no outage of Redis
short_lease = pytest.mark.parametrize("inside", [{"lease_s": SHORT_S}], indirect=True)


def claims_of(inside: Inside) -> Any:
    """Return the part of the worker's store that workers call."""
    return vars(vars(inside.host)["_store"])["_claims"]


async def drained(inside: Inside) -> None:
    """Drain the worker."""
    future = inside.host._call(inside.runtime.drain())
    await asyncio.wait_for(asyncio.wrap_future(future), PATIENCE_S)


@pytest.fixture
def waits_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Collect for how long, at most, tasks are waited for."""
    found: list[float] = []
    wait = asyncio.wait

    async def noting(tasks: Any, *, timeout: float | None = None, **options: Any) -> Any:
        if timeout is not None:
            found.append(timeout)
        return await wait(tasks, timeout=timeout, **options)

    monkeypatch.setattr(asyncio, "wait", noting)
    return found


async def test_a_job_claimed_while_the_worker_begins_to_drain_is_given_back_whole(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims, runtime = claims_of(inside), inside.runtime
    claim, claimed, go_on = claims._claim, threading.Event(), asyncio.Event()

    async def late(arguments: dict[str, Any]) -> Any:
        answer = await claim(arguments)
        claimed.set()
        await go_on.wait()  # it comes after the drain has begun
        return answer

    monkeypatch.setattr(claims, "_claim", late)
    await inside.create("job", num_images=5, num_inference_steps=200)
    answered = inside.threads.submit(inside.host.answer, "job")
    assert await asyncio.to_thread(claimed.wait, PATIENCE_S)
    drain = inside.host._call(runtime.drain())

    async def begun() -> bool:
        return runtime.pulse.draining

    await until("the drain to begin", begun)
    assert runtime._claiming.locked()
    assert not drain.done(), "drained with a claim under way"
    vars(inside.host)["_loop"].call_soon_threadsafe(go_on.set)
    await asyncio.wait_for(asyncio.wrap_future(drain), PATIENCE_S)
    assert not runtime._claiming.locked(), "drained with a claim under way"
    await asyncio.wait_for(asyncio.wrap_future(answered), PATIENCE_S)
    record = await inside.store.get("job")
    assert (record.status, record.attempts) == (JobStatus.QUEUED, 1)


async def test_a_claim_whose_answer_is_lost_in_a_drain_is_no_death(
    inside: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    claims = claims_of(inside)
    claim, lost = claims._claim, asyncio.Event()

    async def losing(arguments: dict[str, Any]) -> Any:
        answer = await claim(arguments)
        if not lost.is_set():
            lost.set()
            inside.runtime.close()  # a drain begins
            raise StoreUnavailable("the answer is lost")
        return answer

    monkeypatch.setattr(claims, "_claim", losing)
    await inside.create("job", num_inference_steps=200)
    await inside.create("other", num_inference_steps=200)
    answered = inside.threads.submit(inside.host.answer, "job")
    await asyncio.wait_for(asyncio.wrap_future(answered), PATIENCE_S)
    await drained(inside)
    record = await inside.store.get("job")
    assert (record.status, record.attempts, record.deaths) == (JobStatus.QUEUED, 1, 0)
    assert (await inside.store.get("other")).attempts == 0, "it claimed in a drain"


@short_lease
@pytest.mark.parametrize("call", ["_leave", "checkpoint", "_claim"])
@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
async def test_a_drain_ends_within_a_lease_while_redis_is_away(
    inside: Inside,
    monkeypatch: pytest.MonkeyPatch,
    waits_s: list[float],
    call: str,
    hangs: bool,
) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        if hangs:
            await asyncio.Event().wait()
        raise StoreUnavailable("Redis is away")

    with inside.held("job"):
        await inside.submit("job", num_inference_steps=1000)
        await inside.moving("job")
        monkeypatch.setattr(claims_of(inside), call, away)
        monkeypatch.setattr(vars(inside.host)["_store"], "announce_worker", away)
        inside.threads.submit(inside.host.answer, "another")  # a claim that gets no answer
        await drained(inside)
    assert sum(waits_s) <= SHORT_S + 0.1, "it waits for longer than a lease"
    assert inside.runtime.job_count == 0


@pytest.mark.parametrize("inside", [{"lease_s": LONGER_S}], indirect=True)
async def test_a_drain_waits_for_a_tick_that_takes_longer_than_a_lease(
    inside: Inside, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workers.host.ANNOUNCE_S", 0.05)  # Redis answers all the while
    ticking, go_on = threading.Event(), threading.Event()

    def long_tick(_call: int, prediction: Tensor) -> Tensor:
        ticking.set()
        go_on.wait(PATIENCE_S)
        return prediction

    monkeypatch.setattr(bundle, "backbone", Faulty(bundle.backbone, long_tick))
    await inside.submit("job", num_inference_steps=1000)
    assert await asyncio.to_thread(ticking.wait, PATIENCE_S)
    drain = inside.host._call(inside.runtime.drain())
    try:
        await asyncio.sleep(1.5 * LONGER_S)
        assert not drain.done()
    finally:
        go_on.set()
    await asyncio.wait_for(asyncio.wrap_future(drain), PATIENCE_S)
    record = await inside.store.get("job")
    assert (record.status, record.deaths) == (JobStatus.QUEUED, 0)


async def test_an_operator_s_drain_is_no_stop(inside: Inside) -> None:
    """It does not count as a drain that is stuck, and the worker is as before once it is over."""
    registry = inside.host.counters.registry
    (entry,) = await until("the worker", inside.store.workers)

    def gauges() -> list[float | None]:
        names = ("sfumato_worker_paused", "sfumato_worker_draining")
        return [registry.get_sample_value(name, {"model": "tiny"}) for name in names]

    for wanted in (True, False):
        assert await inside.store.drain_worker(entry.id, wanted=wanted)

        async def done(wanted: bool = wanted) -> bool:
            return [now.draining for now in await inside.store.workers()] == [wanted]

        await until(f"drained: {wanted}", done)
        assert gauges() == [float(wanted), 0.0]
    await inside.submit("job", num_inference_steps=4)
    assert (await inside.ended("job")).status is JobStatus.SUCCEEDED
