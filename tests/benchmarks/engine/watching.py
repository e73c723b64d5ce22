"""What it takes of a worker that somebody watches its batch: one worker, watched by turns.

Time is the process' own, so that others on the machine count for little.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from time import process_time
from typing import Any

from diffusion.bundle.bundle import Bundle
from jobs.catalogue import resolve, units
from jobs.fleet import WorkerEntry
from jobs.redis.store import RedisStore
from jobs.schema import JobRequest
from jobs.store import JobStore
from tests.benchmarks.doors.stack import settings_of
from tests.benchmarks.figures import spread
from tests.faults.client import until
from tests.jobs.examples import spec
from workers.engine.messages import Admitted, Advanced, ImageProgress
from workers.host import WorkerHost
from workers.ops.batch import PUBLISH_S, LiveBatch

SLOTS = 20
JOBS, STEPS = 400, 1000  # more than it can draw meanwhile
TURNS = 6  # watched and not, each
TURN_S = 3.0
SETTLED_S = 4.0  # until a worker has noticed that it is watched, or no longer
SNAPSHOTS = 200
SIZES = (20, 256, 1024)


async def measure(url: str, bundle: Bundle) -> dict[str, Any]:
    """Return a row's time watched over that unwatched, and what snapshots by themselves take."""
    settings = settings_of(url, SLOTS)
    store, threads = RedisStore(settings), ThreadPoolExecutor(SLOTS)
    alone = {str(images): await _snapshot_share(store, images) for images in SIZES}
    host = await asyncio.to_thread(WorkerHost, bundle, settings)
    try:
        (worker,) = await until("the worker", store.workers)
        await _fill(store, host, threads)
        ratios = [await _ratio(store, host, worker) for _ in range(TURNS)]
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(host.stop)
        await store.close()
    return {
        "slots": SLOTS,
        "watched_over_unwatched": spread(ratios),
        "core_share_by_images": alone,  # of one core, at the usual rate
    }


async def _fill(store: RedisStore, host: WorkerHost, threads: ThreadPoolExecutor) -> None:
    """Have the worker draw an image of many steps in each slot, and others after them."""
    (model,) = await until("the model", store.models)
    for number in range(JOBS):
        request = JobRequest(prompt="a red apple", seed=number, num_inference_steps=STEPS)
        wanted = resolve(request, model)
        await store.create(f"job{number}", wanted, units(wanted, model))
        threads.submit(host.answer, f"job{number}")
    await asyncio.sleep(2.0)


async def _ratio(store: RedisStore, host: WorkerHost, worker: WorkerEntry) -> float:
    """Return a row's time in a watched turn over that in the unwatched ones around it."""
    before = await _row_s(host)
    watching = asyncio.create_task(_watch(store, worker.id))
    await asyncio.sleep(SETTLED_S)
    watched = await _row_s(host)
    watching.cancel()
    with suppress(asyncio.CancelledError):
        await watching
    await asyncio.sleep(SETTLED_S)
    return 2 * watched / (before + await _row_s(host))


async def _row_s(host: WorkerHost) -> float:
    (served,) = host.served.values()
    stats = served.engine.stats
    rows, began = stats.rows, process_time()
    await asyncio.sleep(TURN_S)
    return (process_time() - began) / (stats.rows - rows)


async def _watch(store: RedisStore, worker_id: str) -> None:
    while True:
        await store.watch_batch(worker_id)
        await asyncio.sleep(1.0)


async def _snapshot_share(store: JobStore, images: int) -> float:
    """Return the share of a core that snapshots of so many images take, published as usual."""
    batch = _full(images)
    await store.publish_batch(batch.snapshot())
    began = process_time()
    for _ in range(SNAPSHOTS):
        await store.publish_batch(batch.snapshot())
    return round((process_time() - began) / SNAPSHOTS / PUBLISH_S, 5)


def _full(images: int) -> LiveBatch:
    batch, wanted = LiveBatch("w", "toy", images, lambda: images), spec()
    moved = [ImageProgress(f"job{n:032}", 0, 3, 10, 3, 3) for n in range(images)]
    for each in moved:
        batch.admitted(Admitted(each.job_id, 0, 0), wanted, 1, {0: each})
    batch.advanced(Advanced(1, tuple(moved), images, 0.1))
    return batch
