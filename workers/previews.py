"""The previews that wait in a worker's runs, encoded and published together."""

import asyncio
from collections.abc import Sequence

import structlog

from jobs.errors import StoreTrouble
from jobs.store import JobStore, Preview
from workers.holdings import Holdings
from workers.messages import Previewed
from workers.picture import PREVIEW_CONTENT_TYPE, encode_preview
from workers.run import Run

log = structlog.get_logger()
MOST_A_ROUND = 16
"""Previews beyond this wait for the next round, replaced by newer ones: a publisher that falls
behind drops previews, never checkpoints or results."""


async def publish_previews(store: JobStore, holdings: Holdings, runs: Sequence[Run]) -> None:
    """Publish the newest preview of each picture; trouble with the store drops them."""
    due: list[tuple[Run, Previewed]] = []
    for run in runs:
        while run.previews and len(due) < MOST_A_ROUND:
            due.append((run, run.previews.popitem()[1]))
    if not due:
        return
    files = await asyncio.to_thread(lambda: [_file(shown) for _, shown in due])
    encoded = [(*each, data) for each, data in zip(due, files, strict=True) if data is not None]
    previews = [
        Preview(run.claim.lease, shown.image, shown.step, PREVIEW_CONTENT_TYPE, data)
        for run, shown, data in encoded
    ]
    try:
        holdings.lose(await store.preview(previews))
    except StoreTrouble as error:
        holdings.trouble(error)
        return
    holdings.counters.previewed(len(previews))
    for run, _, _ in encoded:
        run.attempt.previewed()


def _file(shown: Previewed) -> bytes | None:
    try:
        return encode_preview(shown.pixels)
    except Exception:  # Pillow raises whatever its encoders raise; a job goes on without previews
        log.exception("a preview was left out", job_id=shown.job_id)
        return None
