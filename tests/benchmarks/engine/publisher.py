"""What publishing costs the engine: nowhere, in a thread of this process, in another process."""

import random
from collections.abc import Callable
from concurrent.futures import wait
from multiprocessing import get_context
from multiprocessing.queues import SimpleQueue
from time import perf_counter, sleep
from typing import Any

from diffusion.bundle.bundle import Bundle
from jobs.catalogue import resolve
from tests.benchmarks.doors.stack import Inside, inside
from tests.benchmarks.engine.efficiency import best_batch, mixed_requests, raw_rows_per_second
from tests.benchmarks.engine.policy import STEPS
from tests.benchmarks.figures import spread
from tests.workers.harness import image_request
from workers.engine.calibrate import calibrate
from workers.engine.engine import Engine, EngineSettings
from workers.engine.messages import ImageRequest, Previewed, Report
from workers.runtime.catalogue import model_entry
from workers.runtime.image_file import encode_preview

SLOTS = 16
PAIRS = 5
WINDOW_S = 3.0


def orders(bundle: Bundle, count: int, seed: int) -> list[ImageRequest]:
    """Return the pictures of mixed jobs."""
    entry = model_entry(bundle.info)
    specs = [resolve(request, entry) for request in mixed_requests(count, seed)]
    return [
        image_request(
            f"job{seed}-{i}",
            prompt=spec.prompt,
            steps=spec.num_inference_steps,
            sampler=spec.sampler,
            schedule=spec.schedule,
            guidance_scale=spec.guidance_scale,
            seed=spec.seed,
            width=spec.width,
            height=spec.height,
            preview=spec.preview,
        )
        for i, spec in enumerate(specs)
    ]


def window(
    bundle: Bundle, report: Callable[[Report], None], rows_per_tick: int, seed: int
) -> float:
    """Return the engine's rows a second with every slot full, ticked by this thread."""
    engine = Engine(bundle, EngineSettings(slots=SLOTS, rows_per_tick=rows_per_tick), report)
    waiting = orders(bundle, 40 * SLOTS, seed)
    for picture in waiting:
        engine.submit(picture)
    engine.tick()
    rows, started = engine.stats.rows, perf_counter()
    while perf_counter() - started < WINDOW_S and engine.stats.slots_used == SLOTS:
        engine.tick()
    return (engine.stats.rows - rows) / (perf_counter() - started)


def worker_window(worker: Inside, seed: int, jobs: int) -> float:
    """Return a whole worker's rows a second with every slot full; then let the jobs end."""
    stats = worker.host.engine.stats
    worker.submit(mixed_requests(jobs, seed))
    futures = worker.answer(jobs)  # one ring a job, as the door rings
    while stats.slots_used < worker.settings.slots:
        sleep(0.002)
    rows, started = stats.rows, stats.ticked_at
    sleep(WINDOW_S)
    speed = (stats.rows - rows) / (stats.ticked_at - started)
    wait(futures)
    return speed


def jobs_for(rows_per_s: float, slots: int) -> int:
    """Return how many mixed jobs keep the slots full for a window at this speed."""
    rows = sum(STEPS) / len(STEPS) * 1.75  # three of four are guided
    return round(rows_per_s * WINDOW_S / rows) + 2 * slots


def publish(reports: "SimpleQueue[Report | None]") -> None:
    """Take reports to the end and encode their previews; runs in a process of its own."""
    while (report := reports.get()) is not None:
        if isinstance(report, Previewed):
            encode_preview(report.pixels)


def measure(bundle: Bundle, *, pairs: int = PAIRS) -> dict[str, Any]:
    """Return rows a second over raw ones, by where the publisher runs."""
    batch, speeds = best_batch(bundle, 2 * SLOTS)
    speed = speeds[batch]
    rows_per_tick = calibrate(bundle, 2 * SLOTS).rows_per_tick
    context = get_context("spawn")
    reports: SimpleQueue[Report | None] = context.SimpleQueue()
    process = context.Process(target=publish, args=(reports,), daemon=True)
    process.start()
    ratios: dict[str, list[float]] = {"nowhere": [], "thread": [], "process": []}
    chooser = random.Random(1)
    with inside(bundle, slots=SLOTS, rows_per_tick=rows_per_tick) as worker:
        ways: dict[str, Callable[[int], float]] = {
            "nowhere": lambda pair: window(bundle, lambda _: None, rows_per_tick, pair),
            "thread": lambda pair: worker_window(worker, pair, jobs_for(speed, SLOTS)),
            "process": lambda pair: window(bundle, reports.put, rows_per_tick, pair),
        }
        for pair in range(pairs):
            for way in chooser.sample(list(ways), len(ways)):
                raw = raw_rows_per_second(bundle, batch, WINDOW_S / 2)
                rows = ways[way](pair)
                raw = (raw + raw_rows_per_second(bundle, batch, WINDOW_S / 2)) / 2
                ratios[way].append(rows / raw)
                print(f"  pair {pair}, publisher {way}: {rows / raw:.3f}")
    reports.put(None)
    process.join()
    return {"pairs": pairs, "rows_per_tick": rows_per_tick} | {
        way: spread(values) for way, values in ratios.items()
    }
