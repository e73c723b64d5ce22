"""A job that fails is given to another live worker of its model, once."""

from dataclasses import replace

from jobs.redis.store import RedisStore
from jobs.schema import JobError, JobStatus
from tests.jobs.conftest import OpenStore
from tests.jobs.examples import checkpoint, claim, submit, worker

ERROR = JobError(code="internal", detail="no kernel")


async def test_another_worker_draws_what_failed(store: RedisStore) -> None:
    for name in ("w", "other"):
        await store.announce_worker(worker(10.0, name))
    await submit(store, "job")
    first = await claim(store)
    await store.checkpoint(first.lease, [checkpoint(3)])
    record = await store.fail(first.lease, ERROR, elsewhere=True)
    assert (record.status, record.deaths, record.error) == (JobStatus.QUEUED, 0, None)
    assert await store.claim("toy", "w", idle=True) is None
    second = await claim(store, "other")
    assert [each.row for each in second.checkpoints] == [3]
    failed = await store.fail(second.lease, ERROR, elsewhere=True)
    assert (failed.status, failed.error, failed.attempts) == (JobStatus.FAILED, ERROR, 2)


async def test_a_job_fails_at_once_where_no_other_worker_lives(store: RedisStore) -> None:
    await store.announce_worker(worker(10.0))
    await store.announce_worker(replace(worker(10.0, "other"), model="another"))
    await submit(store, "job")
    failed = await store.fail((await claim(store)).lease, ERROR, elsewhere=True)
    assert failed.status is JobStatus.FAILED


async def test_a_worker_may_draw_what_failed_on_it_if_no_other_does(open_store: OpenStore) -> None:
    store = open_store(suspect_wait_s=0.0)
    for name in ("w", "other"):
        await store.announce_worker(worker(10.0, name))
    await submit(store, "job")
    await store.fail((await claim(store)).lease, ERROR, elsewhere=True)
    assert (await claim(store)).record.id == "job"
