"""Waiting previews of all jobs, encoded and published together."""

import asyncio
from collections.abc import Sequence

import structlog

from jobs.errors import TransientStoreError
from jobs.store import JobStore, Preview
from workers.engine.messages import Previewed
from workers.runtime.active_jobs import ActiveJobs
from workers.runtime.image_file import PREVIEW_CONTENT_TYPE, encode_preview
from workers.runtime.run import Run

log = structlog.get_logger()
MAX_A_ROUND = 16
"""Further previews wait for the next round and are replaced by newer ones: a publisher that falls
behind drops previews, never checkpoints or results."""


async def publish_previews(store: JobStore, jobs: ActiveJobs, runs: Sequence[Run]) -> None:
    """Publish the newest preview of each image; they are dropped if the store fails."""
    due: list[tuple[Run, Previewed]] = []
    for run in runs:
        while run.previews and len(due) < MAX_A_ROUND:
            due.append((run, run.previews.popitem()[1]))
    if not due:
        return
    files = await asyncio.to_thread(lambda: [_file(run, shown) for run, shown in due])
    encoded = [(*each, data) for each, data in zip(due, files, strict=True) if data is not None]
    previews = [
        Preview(run.claim.lease, shown.image, shown.step, PREVIEW_CONTENT_TYPE, data, run.wanted.of)
        for run, shown, data in encoded
    ]
    try:
        lost = await store.preview(previews)
    except TransientStoreError as error:
        jobs.store_failed(error)
        return
    jobs.lose(run for run in runs if run.id in lost)
    jobs.counters.previews.inc(len(previews))
    for run, _, _ in encoded:
        run.attempt.previewed()


def _file(run: Run, shown: Previewed) -> bytes | None:
    try:
        return encode_preview(shown.pixels, run.wanted.size)
    except Exception:  # Pillow raises whatever its encoders raise; a job goes on without previews
        log.exception("preview dropped", job_id=shown.job_id)
        return None
