"""A worker that has begun to drain, without Celery around it."""

import asyncio
import threading
from time import monotonic, sleep
from typing import Any

import pytest
from redis import Redis
from torch import Tensor

from diffusion.bundle.bundle import Bundle
from jobs.errors import StoreUnavailable
from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from tests.faults.client import until
from tests.faults.devices import Faulty
from tests.workers.inside import Inside

SHORT_S = 1.5
short_lease = pytest.mark.parametrize("inside", [{"lease_s": SHORT_S}], indirect=True)


def claims_of(inside: Inside) -> Any:
    """Return the part of the worker's store that workers call."""
    return vars(vars(inside.host)["_store"])["_claims"]


async def drained(inside: Inside, timeout_s: float = 30.0) -> float:
    """Drain the worker; return the seconds it took."""
    began = monotonic()
    future = inside.host._call(inside.host.served["tiny"].runtime.drain())
    await asyncio.wait_for(asyncio.wrap_future(future), timeout_s)
    return monotonic() - began


async def test_a_job_claimed_while_the_worker_begins_to_drain_is_given_back_whole(
    inside: Inside, jobs_settings: JobsSettings
) -> None:
    await inside.create("job", num_images=5, num_inference_steps=200)
    with Redis.from_url(jobs_settings.redis_url) as redis:
        redis.client_pause(500)  # the claim's answer comes after the drain has begun
    answered = inside.threads.submit(inside.host.answer, "job")

    async def claiming() -> bool:
        return inside.host.served["tiny"].runtime._claiming.locked()

    await until("the claim to be under way", claiming)
    drained = inside.host._call(inside.host.served["tiny"].runtime.drain())
    await asyncio.wait_for(asyncio.wrap_future(drained), 30)
    assert not inside.host.served["tiny"].runtime._claiming.locked(), (
        "drained with a claim under way"
    )
    await asyncio.wait_for(asyncio.wrap_future(answered), 30)
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
            inside.host.served["tiny"].runtime.close()  # a drain begins
            raise StoreUnavailable("the answer is lost")
        return answer

    monkeypatch.setattr(claims, "_claim", losing)
    await inside.create("job", num_inference_steps=200)
    await inside.create("other", num_inference_steps=200)
    answered = inside.threads.submit(inside.host.answer, "job")
    await asyncio.wait_for(asyncio.wrap_future(answered), 30)
    await drained(inside)
    record = await inside.store.get("job")
    assert (record.status, record.attempts, record.deaths) == (JobStatus.QUEUED, 1, 0)
    assert (await inside.store.get("other")).attempts == 0, "it claimed in a drain"


@short_lease
@pytest.mark.parametrize("call", ["_leave", "checkpoint", "_claim"])
@pytest.mark.parametrize("hangs", [False, True], ids=["refuses", "hangs"])
async def test_a_drain_ends_within_a_lease_while_redis_is_away(
    inside: Inside, monkeypatch: pytest.MonkeyPatch, call: str, hangs: bool
) -> None:
    async def away(*_: Any, **__: Any) -> Any:
        if hangs:
            await asyncio.Event().wait()
        raise StoreUnavailable("Redis is away")

    await inside.submit("job", num_inference_steps=1000)
    await inside.moving("job")
    monkeypatch.setattr(claims_of(inside), call, away)
    monkeypatch.setattr(vars(inside.host)["_store"], "announce_worker", away)
    inside.threads.submit(inside.host.answer, "another")  # a claim that gets no answer
    assert await drained(inside) < SHORT_S + 1.0
    assert inside.host.served["tiny"].runtime.job_count == 0


@short_lease
async def test_a_drain_waits_for_a_tick_that_takes_longer_than_a_lease(
    inside: Inside, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    await inside.submit("job", num_inference_steps=1000)
    await inside.moving("job")
    ticking = threading.Event()

    def long_tick(_call: int, prediction: Tensor) -> Tensor:
        ticking.set()
        sleep(1.5 * SHORT_S)
        return prediction

    monkeypatch.setattr(bundle, "backbone", Faulty(bundle.backbone, long_tick))
    await asyncio.to_thread(ticking.wait, 30)
    await drained(inside)
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
            (now,) = await inside.store.workers()
            return now.draining == wanted

        await until(f"drained: {wanted}", done)
        assert gauges() == [float(wanted), 0.0]
    await inside.submit("job", num_inference_steps=4)
    assert (await inside.ended("job")).status is JobStatus.SUCCEEDED
