"""The real engine beside one job at a time and batches of equal jobs, on the same arrivals."""

import queue
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median
from threading import Event, Thread
from time import perf_counter, sleep
from typing import Any

from diffusion.bundle.bundle import Bundle
from tests.benchmarks.engine.policy import STEPS
from tests.benchmarks.figures import quantile, spread
from tests.workers.harness import image_request
from workers.engine.calibrate import calibrate, full_engine, ticks_s
from workers.engine.engine import Engine, EngineSettings
from workers.engine.messages import Finished, ImageRequest, Report

JOBS = 40
SLOTS = 16
PAIRS = 5


@dataclass
class Timed:
    """One run: when each job came and when it was done, seconds."""

    came: dict[str, float] = field(default_factory=dict)
    done: dict[str, float] = field(default_factory=dict)

    @property
    def latencies(self) -> list[float]:
        """Seconds from arrival to picture."""
        return [self.done[name] - came for name, came in self.came.items()]

    @property
    def span(self) -> float:
        """Seconds from the first arrival to the last picture."""
        return max(self.done.values()) - min(self.came.values())


Serve = Callable[[Bundle, "queue.Queue[ImageRequest | None]", Timed], None]


def pictures(bundle: Bundle, seed: int) -> list[ImageRequest]:
    """Return orders of several step counts, guided and not."""
    chooser = random.Random(seed)
    info = bundle.info
    return [
        image_request(
            f"job{i}",
            prompt="a red apple",
            steps=chooser.choice(STEPS),
            guidance_scale=chooser.choice((1.0, 2.0, 2.0, 2.0)),
            seed=i,
            width=info.width,
            height=info.height,
        )
        for i in range(JOBS)
    ]


def passes(picture: ImageRequest) -> int:
    """Return the forward rows of one evaluation."""
    return 1 if picture.guidance_scale == 1.0 else 2


def play(
    bundle: Bundle, serve: Serve, orders: Sequence[ImageRequest], gaps: Sequence[float]
) -> Timed:
    """Send the orders at their times and return what came of them."""
    timed = Timed()
    arriving: queue.Queue[ImageRequest | None] = queue.Queue()
    server = Thread(target=serve, args=(bundle, arriving, timed))
    server.start()
    for picture, gap in zip(orders, gaps, strict=True):
        sleep(gap)
        timed.came[picture.job_id] = perf_counter()
        arriving.put(picture)
    arriving.put(None)
    server.join()
    return timed


def continuous(rows_per_tick: int) -> Serve:
    """Serve with the engine as it is."""

    def serve(bundle: Bundle, arriving: "queue.Queue[ImageRequest | None]", timed: Timed) -> None:
        ended = Event()
        sent: list[int] = []

        def report(report: Report) -> None:
            if isinstance(report, Finished):
                timed.done[report.job_id] = perf_counter()
                if sent and len(timed.done) == sent[0]:
                    ended.set()

        settings = EngineSettings(slots=SLOTS, rows_per_tick=rows_per_tick)
        engine = Engine(bundle, settings, report)
        engine.start()
        count = 0
        while (picture := arriving.get()) is not None:
            count += 1
            engine.submit(picture)
        sent.append(count)
        while not ended.wait(0.05) and len(timed.done) < count:
            pass
        engine.stop()

    return serve


def in_batches(most: int) -> Serve:
    """Serve in order of arrival, waiting equal jobs together: 1 is one job at a time."""

    def serve(bundle: Bundle, arriving: "queue.Queue[ImageRequest | None]", timed: Timed) -> None:
        waiting: list[ImageRequest] = []
        closed = False

        def report(report: Report) -> None:
            if isinstance(report, Finished):
                timed.done[report.job_id] = perf_counter()

        engine = Engine(bundle, EngineSettings(slots=most, rows_per_tick=2 * most), report)
        while waiting or not closed:
            while not closed and (not waiting or not arriving.empty()):
                picture = arriving.get()
                closed = picture is None
                if picture is not None:
                    waiting.append(picture)
            if not waiting:
                break
            head = waiting[0]
            alike = [p for p in waiting if (p.steps, passes(p)) == (head.steps, passes(head))]
            for picture in alike[:most]:
                waiting.remove(picture)
                engine.submit(picture)
            while engine.tick():
                pass

    return serve


def measure(bundle: Bundle, *, load: float = 0.8, pairs: int = PAIRS) -> dict[str, Any]:
    """Interleave the three ways; return ratios to one job at a time."""
    rows_per_tick = calibrate(bundle, 2 * SLOTS).rows_per_tick
    engines = {rows: full_engine(bundle, rows) for rows in (1, 2)}
    cost_s = {
        rows: median([ticks_s(engine, 1) for _ in range(16)][1:])
        for rows, engine in engines.items()
    }
    ratios: dict[str, list[float]] = {}
    for pair in range(pairs):
        orders = pictures(bundle, pair)
        busy = sum(p.steps * cost_s[passes(p)] for p in orders)
        chooser = random.Random(pair)
        gaps = [chooser.expovariate(load * JOBS / busy) for _ in orders]
        alone = play(bundle, in_batches(1), orders, gaps)
        for name, serve in (
            ("continuous", continuous(rows_per_tick)),
            ("equal_jobs", in_batches(8)),
        ):
            run = play(bundle, serve, orders, gaps)
            found = {
                "throughput": alone.span / run.span,
                "mean": sum(run.latencies) / sum(alone.latencies),
                "p99": quantile(run.latencies, 0.99) / quantile(alone.latencies, 0.99),
            }
            for key, value in found.items():
                ratios.setdefault(f"{name}_{key}", []).append(value)
            shown = ", ".join(f"{key} {value:.3f}" for key, value in found.items())
            print(f"  load {load}, pair {pair}, {name}: {shown}")
    return {"load": load, "pairs": pairs, "jobs": JOBS, "rows_per_tick": rows_per_tick} | {
        key: spread(values) for key, values in ratios.items()
    }
