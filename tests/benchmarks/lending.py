"""A job of many images on one idle worker and on four, each as slow as a device of its own."""

import asyncio
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

from jobs.schema import JobStatus
from jobs.settings import JobsSettings
from tests.bundles import tiny_bundle
from tests.faults import children
from tests.faults.stage import Stage

IMAGES, STEPS, ROW_S = 16, 25, 0.02
WORKERS = 4
ROUNDS = 3


def measure() -> dict[str, Any]:
    """Return the seconds on one worker and on four, and their ratio."""
    return asyncio.run(_measure())


async def _measure() -> dict[str, Any]:
    with TemporaryDirectory() as name:
        folder = Path(name)
        model = tiny_bundle(folder / "tiny")
        one, four = [await _seconds(folder / f"{n}", model, n) for n in (1, WORKERS)]
        single, beside = [await _seconds(folder / f"{n}s", model, n, 1) for n in (1, WORKERS)]
    return {
        "images": IMAGES,
        "one_worker_s": round(one, 2),
        "four_workers_s": round(four, 2),
        "ratio": round(four / one, 3),
        "single_image_ratio": round(beside / single, 3),  # what it costs those that are not shared
    }


async def _seconds(folder: Path, model: Path, workers: int, images: int = IMAGES) -> float:
    variables = {
        "DEVICE_ROW_S": str(ROW_S), "DEVICE_FAULT": "weak", "DEVICE_SWITCH": str(folder / "never"),
    }  # fmt: skip
    async with Stage(folder, model) as stage:
        settings = JobsSettings(redis_url=stage.redis().url)
        await stage.fleet(
            settings, workers, target=children.faulty_worker, variables=variables, slots=20,
            rows_per_tick=32, deterministic=0,
        )  # fmt: skip
        client = stage.client(settings)
        await asyncio.sleep(3.0)  # until Celery takes rings
        took = []
        for number in range(ROUNDS):
            began = monotonic()
            await client.submit(f"job{number}", num_images=images, num_inference_steps=STEPS)
            record = await client.ended(f"job{number}", 300)
            took.append(monotonic() - began)
            if record.status is not JobStatus.SUCCEEDED:
                raise RuntimeError(f"the job ended as {record.status}: {record.error}")
            await asyncio.sleep(1.5)  # until all have announced that they are idle
    return min(took)
