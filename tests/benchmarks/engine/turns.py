"""The engine's speed and the bare UNet's, in turns on the engine's own thread.

The machine's speed wanders by several hundredths within seconds, and its wanderings do not average
out over longer windows. So the two are compared over short ones, many times, on one thread and one
core, with every slot full throughout: between two ticks the engine thread makes some bare passes.
"""

import threading
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from statistics import median
from time import perf_counter, sleep

import torch
from torch import Tensor

from diffusion.bundle.bundle import Bundle
from jobs.schema import JobRequest
from tests.backbones import backend_of
from tests.benchmarks.doors.stack import Inside
from workers.engine.throughput import EngineStats

ENGINE_S = 1.0
SETTLE_S = 0.25  # what the last ticks left to other threads and processes is done by then
RAW_S = 0.5
AHEAD = 12  # jobs in the queue beside those in the slots


class RawPasses:
    """The UNet alone at one batch size, inputs prepared."""

    def __init__(self, bundle: Bundle, rows: int) -> None:
        self.rows = rows
        shape = bundle.latent_shape(bundle.info.width, bundle.info.height)
        with torch.inference_mode():
            embeddings = bundle.encode_prompts(["a red apple"])[0].embeddings
            embeddings = embeddings.expand(rows, -1, -1).contiguous()
            inputs = (torch.randn(rows, *shape), torch.linspace(1, 999, rows), embeddings)
        self._pass: Callable[[], Tensor] = lambda: backend_of(bundle).predict(*inputs, None)

    @torch.inference_mode()
    def rows_per_second(self, seconds: float) -> float:
        """Return its speed over about so many seconds."""
        done, started = 0, perf_counter()
        while (spent := perf_counter() - started) < seconds:
            self._pass()
            done += self.rows
        return done / spent


@dataclass
class Window:
    """What the engine did between two turns of the bare UNet; seconds of its thread."""

    wall_s: float
    rows: float
    ticks: float
    model_s: float
    step_s: float
    overhead_s: float
    raw: float  # rows a second around it

    @property
    def ratio(self) -> float:
        """Rows a second over the bare UNet's."""
        return self.rows / self.wall_s / self.raw


class Feed:
    """Keeps every slot of a worker full with jobs that clients submit over HTTP."""

    def __init__(
        self,
        worker: Inside,
        submit: Callable[[list[JobRequest]], object],
        requests: Callable[[int], list[JobRequest]],
    ) -> None:
        self._worker = worker
        self._submit = submit
        self._requests = requests
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="feed")
        self._thread.start()

    def _run(self) -> None:
        under_way: set[Future[None]] = set()
        while not self._ending.is_set():
            missing = self._worker.settings.slots + AHEAD - len(under_way)
            if missing > 0:
                self._submit(self._requests(missing))
                under_way |= set(self._worker.answer(missing))  # one ring a job
            _, under_way = wait(under_way, timeout=1.0, return_when=FIRST_COMPLETED)
        wait(under_way)

    def close(self) -> None:
        """Submit no more, and wait for the jobs under way."""
        self._ending.set()
        self._thread.join()


def in_turns(worker: Inside, passes: RawPasses, windows: int) -> list[Window]:
    """Measure so many windows of the engine, each between two of the bare UNet."""
    engine = worker.engine
    raw: list[float] = []
    counted: list[tuple[list[float], list[float], float]] = []  # before and after a turn, its time
    taken = threading.Semaphore(0)

    def turn() -> None:
        entered, started = _counters(engine.stats), perf_counter()
        passes.rows_per_second(SETTLE_S)
        raw.append(passes.rows_per_second(RAW_S))
        ended = perf_counter()
        counted.append(([started, *entered], [ended, *entered], ended - started))
        taken.release()

    for _ in range(windows + 1):
        engine.call(turn)
        assert taken.acquire(timeout=60), "the engine does not tick"
        sleep(ENGINE_S)
    found = []
    for i in range(windows):
        (_, begin, within), (end, _, _) = counted[i], counted[i + 1]
        wall_s, rows, ticks, model_s, step_s, overhead_s = (
            after - start for after, start in zip(end, begin, strict=True)
        )
        overhead_s -= within  # the tick that made the turn counts it as its own
        around = (raw[i] + raw[i + 1]) / 2
        found.append(Window(wall_s, rows, ticks, model_s, step_s, overhead_s, around))
    return found


def _counters(stats: EngineStats) -> list[float]:
    return [stats.rows, stats.ticks, stats.model_s, stats.step_s, stats.overhead_s]


def breakdown(windows: list[Window]) -> dict[str, float]:
    """Return a tick's parts, medians over the windows."""

    def per_tick(value: Callable[[Window], float]) -> float:
        return round(median([value(w) / w.ticks for w in windows]), 3)

    return {
        "tick_ms": per_tick(lambda w: 1000 * w.wall_s),
        "model_ms": per_tick(lambda w: 1000 * w.model_s),
        # What the model takes longer for these rows than the bare UNet:
        "model_over_raw_ms": per_tick(lambda w: 1000 * (w.model_s - w.rows / w.raw)),
        "step_ms": per_tick(lambda w: 1000 * w.step_s),
        "overhead_ms": per_tick(lambda w: 1000 * w.overhead_s),
        "between_ms": per_tick(lambda w: 1000 * (w.wall_s - w.model_s - w.step_s - w.overhead_s)),
        "rows_per_tick": per_tick(lambda w: w.rows),
    }
