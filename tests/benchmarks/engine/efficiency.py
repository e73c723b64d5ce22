"""Engine efficiency: rows a second through everything, over rows a second of the bare UNet."""

import contextlib
import itertools
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median, stdev
from tempfile import TemporaryDirectory
from time import sleep
from typing import Any

import torch

from diffusion.bundle.bundle import Bundle
from diffusion.samplers.registry import SAMPLERS
from jobs.schema import JobRequest, Previews
from tests.benchmarks.doors.audience import audience
from tests.benchmarks.doors.door_process import door_process
from tests.benchmarks.doors.stack import Inside, inside
from tests.benchmarks.engine.policy import STEPS
from tests.benchmarks.engine.turns import Feed, RawPasses, Window, breakdown, in_turns
from tests.benchmarks.figures import spread
from workers.engine.calibrate import sizes
from workers.settings import WorkerSettings

WINDOWS = 160  # one scatters by four hundredths where others use the machine
COLOURS = ("red", "blue", "green", "yellow", "purple", "black", "white", "orange", "pink", "grey")
THINGS = ("apple", "heart", "tiger", "cat", "car", "book", "fish", "house", "ball", "flower", "猫")
SLOTS = WorkerSettings.model_fields["slots"].default


def best_batch(bundle: Bundle, most: int) -> tuple[int, dict[int, float]]:
    """Return the batch size of the highest raw speed, and all speeds."""
    passes = {size: RawPasses(bundle, size) for size in (1, *sizes(most))}
    turns = [{n: each.rows_per_second(0.2) for n, each in passes.items()} for _ in range(13)]
    speeds = {size: round(median([turn[size] for turn in turns[1:]]), 1) for size in passes}
    return max(speeds, key=lambda size: speeds[size]), speeds


def mixed_requests(count: int, seed: int) -> list[JobRequest]:
    """Return jobs of every sampler, several step counts, guided and not."""
    chooser = random.Random(seed)
    return [
        JobRequest(
            prompt=f"{chooser.choice(COLOURS)} {chooser.choice(THINGS)}",  # more than are kept
            sampler=chooser.choice(list(SAMPLERS)),
            num_inference_steps=chooser.choice(STEPS),
            guidance_scale=chooser.choice((1.0, 2.0, 2.0, 3.0)),
            seed=chooser.randrange(2**32),
            preview=Previews(),
        )
        for _ in range(count)
    ]


@contextlib.contextmanager
def kept_full(bundle: Bundle, slots: int) -> Iterator[Inside]:
    """Run a worker with every slot full.

    Jobs come over HTTP through a door, and clients watch the events of all of them meanwhile.
    """
    seeds = itertools.count()
    with (
        inside(bundle, slots) as worker,
        TemporaryDirectory() as folder,
        door_process("uvicorn", worker.settings.redis_url, Path(folder)) as url,
        audience(url) as clients,
        contextlib.closing(
            Feed(worker, clients.submit, lambda count: mixed_requests(count, next(seeds)))
        ),
    ):
        while worker.engine.stats.slots_used < slots:
            sleep(0.01)
        yield worker


def measure(bundle: Bundle, *, windows: int = WINDOWS) -> dict[str, Any]:
    """Compare the engine with the bare UNet's best batch, in turns."""
    batch, speeds = best_batch(bundle, 2 * SLOTS)
    print(f"  raw rows/s by batch: {speeds}; best {batch}", flush=True)
    with kept_full(bundle, SLOTS) as worker:
        found = in_turns(worker, RawPasses(bundle, batch), windows)
        rows_per_tick = worker.engine.rows_per_tick
    return {
        **compared(found),
        "raw_rows_per_s_by_batch": speeds,
        "bound_rows_per_tick": rows_per_tick,
        "tick": breakdown(found),
        "backend": bundle.backbone.name,
        "threads": torch.get_num_threads(),
    }


def compared(windows: Sequence[Window]) -> dict[str, Any]:
    """Return the efficiency, how far windows scatter, and how precise its median is."""
    ratios = [window.ratio for window in windows]
    error = 1.25 * stdev(ratios) / len(ratios) ** 0.5
    return {
        "efficiency": round(median(ratios), 4),
        "standard_error": round(error, 4),
        "windows": {"count": len(ratios), **spread(ratios)},
    }
