"""The test plays the worker: it claims through the store's own API."""

from jobs.schema import JobRecord
from jobs.store import Claim, JobStore, Preview, Progress
from tests.jobs.examples import claim, picture

PNG = b"\x89PNG\r\n\x1a\n test"


async def advance(store: JobStore, held: Claim, step: int, *, preview: bool = False) -> None:
    """Publish progress, and a preview if asked."""
    units = held.record.units * step / held.record.total_steps
    await store.progress([Progress(held.lease, step, units, step, 1.5)])
    if preview:
        data, of = b"preview-%d" % step, held.record.spec.preview.of
        await store.preview([Preview(held.lease, 0, step, "image/png", data, of)])


async def finish(store: JobStore, held: Claim, data: bytes = PNG) -> JobRecord:
    """Store every image and end the job."""
    for index in range(held.record.spec.num_images):
        await store.add_image(held.lease, picture(index, data))
    return await store.finish(held.lease, held.record.total_steps)


async def draw(store: JobStore) -> JobRecord:
    """Claim the next job and finish it."""
    return await finish(store, await claim(store))
