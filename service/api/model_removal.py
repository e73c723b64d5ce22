"""Removing a model from the catalogue, once no worker serves it and no job waits for it."""

import asyncio

from jobs.errors import JobNotFound, JobsError
from jobs.schema import JobStatus
from jobs.store import JobStore
from service.ttl_cache import TTL_S

PAGE = 200
SETTLED_S = TTL_S + 0.5
"""Doors cache the catalogue, and may be storing a job that they accepted by it."""


class ModelInUse(JobsError):
    """The model cannot be forgotten yet; the message says why."""


async def forget_model(store: JobStore, name: str, *, cancel: bool = False) -> int:
    """Forget a model; return how many of its jobs were cancelled.

    Jobs that arrive meanwhile are cancelled too: no worker would ever run them.

    Raises:
        ModelInUse: there is no such model, a worker serves it, or it has jobs that have not ended
            and ``cancel`` is False.
    """
    open_jobs = await _open_jobs(store, name)
    serving = sorted(worker.id for worker in await store.workers() if worker.model == name)
    if serving:
        raise ModelInUse(f"{name} is served by {', '.join(serving)}: stop its workers first")
    if open_jobs and not cancel:
        raise ModelInUse(
            f"{open_jobs} jobs of {name} have not ended: wait for them, or cancel them"
        )
    if not await store.forget_model(name) and not open_jobs:
        raise ModelInUse(f"there is no model {name!r}")
    await asyncio.sleep(SETTLED_S)
    return await _cancel_all(store, name)


async def _open_jobs(store: JobStore, model: str) -> int:
    try:
        backlog = await store.backlog(model)
    except UnicodeEncodeError:  # the name of a damaged entry, which no request can have
        return 0
    return backlog.pending_jobs + backlog.running_jobs


async def _cancel_all(store: JobStore, model: str) -> int:
    canceled = 0
    for status in (JobStatus.QUEUED, JobStatus.RUNNING):
        cursor: str | None = None
        while True:
            page = await store.list(status=status, limit=PAGE, cursor=cursor)
            for record in page.records:
                if record.spec.model == model:
                    canceled += await _cancel(store, record.id)
            if page.cursor is None:
                break
            cursor = page.cursor
    return canceled


async def _cancel(store: JobStore, job_id: str) -> bool:
    try:
        return (await store.cancel(job_id)).status is JobStatus.CANCELED
    except JobNotFound:  # deleted meanwhile
        return False
