"""Engine efficiency: rows a second through everything, over rows a second of the bare UNet."""

import random
import sys
from collections.abc import Callable
from concurrent.futures import wait
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter, sleep
from typing import Any

import torch

from diffusion.bundle import Bundle
from diffusion.samplers.registry import SAMPLERS
from jobs.schema import JobRequest
from tests.benchmarks.audience import audience
from tests.benchmarks.door_process import door_process
from tests.benchmarks.figures import median, spread
from tests.benchmarks.policy import STEPS
from tests.benchmarks.stack import Inside, inside
from workers.calibrate import sizes
from workers.engine import EngineStats
from workers.settings import WorkerSettings

PAIRS = 21  # one scatters by three hundredths where others use the machine
COLOURS = ("red", "blue", "green", "yellow", "purple", "black", "white", "orange", "pink", "grey")
THINGS = ("apple", "heart", "tiger", "cat", "car", "book", "fish", "house", "ball", "flower", "猫")
WINDOW_S = 3.0
SLOTS = WorkerSettings.model_fields["slots"].default


@torch.inference_mode()
def raw_rows_per_second(bundle: Bundle, rows: int, seconds: float) -> float:
    """Return the speed of the UNet alone at one batch size, inputs prepared."""
    shape = bundle.latent_shape(bundle.info.width, bundle.info.height)
    sample = torch.randn(rows, *shape)
    timesteps = torch.linspace(1, 999, rows)
    embeddings = bundle.encode_prompts(["a red apple"])[0].embeddings.expand(rows, -1, -1)
    embeddings = embeddings.contiguous()
    done, started = 0, perf_counter()
    while perf_counter() - started < seconds:
        bundle.backend.predict(sample, timesteps, embeddings, None)
        done += rows
    return done / (perf_counter() - started)


def best_batch(bundle: Bundle, most: int) -> tuple[int, dict[int, float]]:
    """Return the batch size of the highest raw speed, and all speeds."""
    known = [1, *sizes(most)]
    turns = [{size: raw_rows_per_second(bundle, size, 0.5) for size in known} for _ in range(4)]
    speeds = {size: round(median([turn[size] for turn in turns[1:]]), 1) for size in known}
    return max(speeds, key=lambda size: speeds[size]), speeds


def mixed_requests(count: int, seed: int, *, previews: bool = True) -> list[JobRequest]:
    """Return jobs of every sampler, several step counts, guided and not."""
    chooser = random.Random(seed)
    return [
        JobRequest(
            prompt=f"{chooser.choice(COLOURS)} {chooser.choice(THINGS)}",  # more than are kept
            sampler=chooser.choice(list(SAMPLERS)),
            num_inference_steps=chooser.choice(STEPS),
            guidance_scale=chooser.choice((1.0, 2.0, 2.0, 3.0)),
            seed=chooser.randrange(2**32),
            preview=1 if previews else 0,
        )
        for _ in range(count)
    ]


def engine_window(
    worker: Inside,
    seed: int,
    jobs: int,
    submit: Callable[[list[JobRequest]], object] | None = None,
) -> dict[str, float]:
    """Keep every slot full for the window and measure; then let the jobs end.

    Jobs go straight into the store, unless ``submit`` takes them another way.
    """
    stats = worker.host.engine.stats
    slots = worker.settings.slots
    (submit or worker.submit)(mixed_requests(jobs, seed))
    futures = worker.answer(jobs)  # one ring a job, as the door rings
    while stats.slots_used < slots:
        sleep(0.002)
    before = _counters(stats)
    filled = []
    until = perf_counter() + WINDOW_S
    while perf_counter() < until:
        filled.append(stats.slots_used)
        sleep(0.2)
    wall, rows, ticks, model, step, overhead = (
        after - start for after, start in zip(_counters(stats), before, strict=True)
    )
    wait(futures)
    return {
        "rows_per_s": rows / wall,
        "tick_ms": 1000 * wall / ticks,
        "model_ms": 1000 * model / ticks,
        "step_ms": 1000 * step / ticks,
        "overhead_ms": 1000 * overhead / ticks,
        "between_ms": 1000 * (wall - model - step - overhead) / ticks,
        "rows_per_tick": rows / ticks,
        "slots_used": sum(filled) / len(filled),
    }


def _counters(stats: EngineStats) -> tuple[float, int, int, float, float, float]:
    """Return the counters as the last tick left them: a tick under way counts in neither."""
    return (
        stats.ticked_at,
        stats.rows,
        stats.ticks,
        stats.model_s,
        stats.step_s,
        stats.overhead_s,
    )


def jobs_for(rows_per_s: float, slots: int) -> int:
    """Return how many mixed jobs keep the slots full for a window at this speed."""
    rows = sum(STEPS) / len(STEPS) * 1.75  # three of four are guided
    return round(rows_per_s * WINDOW_S / rows) + 2 * slots


def measure(bundle: Bundle, *, pairs: int = PAIRS, slots: int = SLOTS) -> dict[str, Any]:
    """Alternate raw and engine windows in one run.

    Jobs come over HTTP through a door, and clients watch the events of all of them meanwhile.
    """
    batch, speeds = best_batch(bundle, 2 * slots)
    print(f"  raw rows/s by batch: {speeds}; best {batch}")
    ratios, windows = [], []
    with (
        inside(bundle, slots=slots) as worker,
        TemporaryDirectory() as folder,
        door_process("uvicorn", worker.settings.redis_url, Path(folder)) as url,
        audience(url) as clients,
    ):
        for pair in range(pairs):
            # Half of the raw window on either side, so that a drift of the machine cancels.
            raw = raw_rows_per_second(bundle, batch, WINDOW_S / 2)
            window = engine_window(worker, pair, jobs_for(raw, slots), clients.submit)
            raw = (raw + raw_rows_per_second(bundle, batch, WINDOW_S / 2)) / 2
            window["model_over_raw_ms"] = window["model_ms"] - 1000 * window["rows_per_tick"] / raw
            windows.append(window)
            ratios.append(window["rows_per_s"] / raw)
            print(f"  pair {pair}: raw {raw:.1f}, engine {window['rows_per_s']:.1f} rows/s, "
                  f"ratio {ratios[-1]:.3f}")  # fmt: skip
        rows_per_tick = worker.host.engine.rows_per_tick
    keys = (
        "tick_ms",
        "model_ms",
        "model_over_raw_ms",  # what the model takes longer for these rows than the bare UNet
        "step_ms",
        "overhead_ms",
        "between_ms",
        "rows_per_tick",
        "slots_used",
    )
    return {
        "efficiency": round(median(ratios), 4),
        "pairs": spread(ratios),
        "raw_rows_per_s_by_batch": speeds,
        "bound_rows_per_tick": rows_per_tick,
        "tick": {key: round(median([w[key] for w in windows]), 3) for key in keys},
        "backend": bundle.backend.name,
        "threads": torch.get_num_threads(),
    }


def switch_intervals(bundle: Bundle, *, pairs: int = 7, slots: int = SLOTS) -> dict[str, Any]:
    """Return the efficiency at several lengths of the interpreter's switch interval, in turns."""
    batch, _ = best_batch(bundle, 2 * slots)
    before = sys.getswitchinterval()
    ratios: dict[float, list[float]] = {0.0005: [], 0.005: [], 0.02: []}
    try:
        with inside(bundle, slots=slots) as worker:
            for pair in range(pairs):
                for interval, found in ratios.items():
                    sys.setswitchinterval(interval)
                    raw = raw_rows_per_second(bundle, batch, WINDOW_S / 2)
                    window = engine_window(worker, pair, jobs_for(raw, slots))
                    raw = (raw + raw_rows_per_second(bundle, batch, WINDOW_S / 2)) / 2
                    found.append(window["rows_per_s"] / raw)
    finally:
        sys.setswitchinterval(before)
    return {f"{1000 * interval:g} ms": spread(found) for interval, found in ratios.items()}
