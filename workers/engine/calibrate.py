"""The batch size at which the device is fastest, measured at start."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from statistics import linear_regression, median
from time import perf_counter
from typing import TypeVar

import structlog

from diffusion.bundle.bundle import Bundle
from diffusion.errors import BundleError
from jobs.schema import MAX_STEPS
from workers.engine.batcher import MIN_ROWS
from workers.engine.device_errors import is_broken
from workers.engine.engine import Engine, EngineSettings
from workers.engine.messages import Failed, ImageRequest, Report

log = structlog.get_logger()
T = TypeVar("T")
WITHIN = 0.998
"""The smallest batch that reaches this share of the best speed is taken."""
SERVED_S = 0.0013
"""What a tick takes longer in service, where other threads run and its caches are cold."""
CONTENDER = 0.96
"""A size with this share of the best speed in a first look gets a closer one."""
LOOKS = 2
MOST_TICKS = 16  # of one closer look at a size
ROUNDS = 13
FIRST_S = 10.0
"""No size is tried whose first ticks, with those of the smaller ones, would take longer."""
BUDGET_S = 3.2
"""No closer look begins after this. A device whose first looks take as long does not need one: its
ticks are long enough to be measured well."""


PADDED = 1.1
"""A batch is padded if it takes at most so many times as long for it."""


@dataclass(frozen=True)
class Calibration:
    """A batch size and what the device does with it."""

    rows_per_tick: int
    rows_per_s: float  # at base resolution, so units per second too; 0: it did not fit in memory
    batch_sizes: tuple[int, ...] = ()  # that smaller batches are padded to; none: they are not


def calibrate(bundle: Bundle, most: int) -> Calibration:
    """Return the smallest of the sizes up to ``most`` within 0.2 % of the best rows per second.

    That is of speeds in service, where each tick takes a little longer.
    """
    speeds = speeds_by_rows(bundle, sizes(most))
    found = best_of(speeds)
    if not (bundle.few_sizes and speeds):
        return found
    return replace(found, batch_sizes=batch_sizes(*tick_cost_s(speeds), found.rows_per_tick))


def measure(bundle: Bundle, rows_per_tick: int) -> Calibration:
    """Return a given size with its speed."""
    speed = speeds_by_rows(bundle, [rows_per_tick]).get(rows_per_tick, 0.0)
    return Calibration(rows_per_tick, speed)


def draw_once(bundle: Bundle) -> None:
    """Evaluate the model once.

    Raises:
        BundleError: the model fails or predicts non-finite values, or the device is broken.
    """
    _try(bundle, [MIN_ROWS], len)


def best_of(speeds: Mapping[int, float]) -> Calibration:
    """Return the smallest size within 0.2 % of the best, or the minimum if none fits."""
    if not speeds:
        return Calibration(MIN_ROWS, 0.0)
    served = {rows: rows / (rows / speed + SERVED_S) for rows, speed in speeds.items()}
    chosen = min(rows for rows, speed in served.items() if speed >= WITHIN * max(served.values()))
    shown = {str(rows): round(speed, 1) for rows, speed in speeds.items()}
    tick_ms, row_ms = (round(1000 * cost_s, 3) for cost_s in tick_cost_s(speeds))
    log.info("calibrated", rows_per_tick=chosen, rows_per_s=shown, tick_ms=tick_ms, row_ms=row_ms)
    return Calibration(chosen, speeds[chosen])


def batch_sizes(tick_s: float, row_s: float, most: int) -> tuple[int, ...]:
    """Return the fewest sizes up to ``most`` such that padding to them costs a tenth at most.

    A tick takes ``tick_s + row_s · rows``.
    """
    chosen = [most]
    for rows in range(most - 1, 0, -1):
        if tick_s + row_s * chosen[-1] > PADDED * (tick_s + row_s * rows):
            chosen.append(rows)
    return tuple(reversed(chosen))


def tick_cost_s(speeds: Mapping[int, float]) -> tuple[float, float]:
    """Return (fixed, row) of ticks that take ``fixed + row · rows`` seconds, by least squares.

    With one size the fixed part is unknown and counted to the rows.
    """
    ticks = {rows: rows / speed for rows, speed in speeds.items()}
    if len(ticks) == 1:
        return 0.0, 1 / next(iter(speeds.values()))
    row, fixed = linear_regression(list(ticks), list(ticks.values()))
    return max(0.0, fixed), row


def speeds_by_rows(bundle: Bundle, rows_to_try: Sequence[int]) -> dict[int, float]:
    """Return rows per second of whole ticks at these ascending sizes, as many as fit in memory.

    How many are tried depends on the device's speed: one on a device that needs seconds for a row,
    whose first tick then counts. The sizes take turns, so that other load on the machine slows all
    of them alike. The best ones get a closer look over equally many rows, and the median of a
    size's turns counts: it scatters by two thousandths, half as far as the best turn. The speeds of
    the others in their better look are scaled by the same factor as the best one's.

    Raises:
        BundleError: the model fails or predicts non-finite values, or the device is broken.
    """
    return _try(bundle, rows_to_try, _measured)


@dataclass(frozen=True)
class _Warm:
    """An engine that has made its first tick, in which some of its images may not take part."""

    engine: Engine
    row_s: float  # of that tick


def _try(bundle: Bundle, rows_to_try: Sequence[int], use: Callable[[Mapping[int, _Warm]], T]) -> T:
    """Use the engines of the sizes that fit in memory; a broken device refuses the model."""
    with ExitStack() as stack:
        try:
            return use(_fitting(bundle, rows_to_try, stack))
        except Exception as error:
            if not is_broken(error):
                raise
            raise BundleError(f"the device {bundle.device} is broken: {error}") from error


def _measured(warm: Mapping[int, _Warm]) -> dict[int, float]:
    if not warm:
        return {}
    if _looked_at_s(warm) > FIRST_S:
        return {rows: 1 / each.row_s for rows, each in warm.items()}
    engines = {rows: each.engine for rows, each in warm.items()}
    until = perf_counter() + BUDGET_S
    looks = [{n: n / ticks_s(engine, 1) for n, engine in engines.items()} for _ in range(LOOKS)]
    speeds = {rows: max(look[rows] for look in looks) for rows in engines}
    contenders = [n for n, speed in speeds.items() if speed >= CONTENDER * max(speeds.values())]
    ticks = {rows: min(MOST_TICKS, round(max(contenders) / rows)) for rows in contenders}
    turns: list[dict[int, float]] = []
    while len(turns) < ROUNDS and perf_counter() < until:
        turns.append({n: n * ticks[n] / ticks_s(engines[n], ticks[n]) for n in contenders})
    if not turns:
        return speeds
    closer = {rows: median(turn[rows] for turn in turns) for rows in contenders}
    share = max(closer.values()) / max(speeds.values())  # best looks flatter, medians do not
    return {rows: closer.get(rows, share * speed) for rows, speed in speeds.items()}


def _looked_at_s(warm: Mapping[int, _Warm], rows: int = 0) -> float:
    """Return about how long first ticks and looks take, those of a further size included."""
    spent = sum(size * each.row_s for size, each in warm.items())
    return (1 + LOOKS) * (spent + rows * min(each.row_s for each in warm.values()))


def _fitting(bundle: Bundle, rows_to_try: Sequence[int], stack: ExitStack) -> dict[int, _Warm]:
    """Return engines of the sizes that fit in memory and in time; the stack stops them."""
    engines: dict[int, _Warm] = {}
    for rows in rows_to_try:
        if engines and _looked_at_s(engines, rows) > FIRST_S:
            break
        reports: list[Report] = []
        engine = full_engine(bundle, rows, reports.append)
        stack.callback(engine.stop)
        if not engines:
            _warm_up(bundle, engine)
        before, started = engine.stats.rows, perf_counter()
        engine.tick()
        while engine.doubts:
            engine.tick()
        row_s = (perf_counter() - started) / max(1, engine.stats.rows - before)
        failures = [report for report in reports if isinstance(report, Failed)]
        if engine.rows_per_tick < rows or failures:
            for failure in failures:
                if failure.code != "out_of_memory":
                    raise BundleError(f"the model cannot draw: {failure.detail}")
            break
        engines[rows] = _Warm(engine, row_s)
    return engines


def _warm_up(bundle: Bundle, engine: Engine) -> None:
    """Make ticks that do not count: an accelerator loads its libraries, blocks are compiled."""
    if bundle.acceleration.compiled:
        single = full_engine(bundle, 1)  # of its own: a dimension of one is not taken as any
        single.tick()
        single.stop()
    if bundle.acceleration.compiled or bundle.device.type != "cpu":
        engine.tick()


def sizes(most: int) -> list[int]:
    """Return the powers of two from 2 up to ``most``, the sizes half-way between, and ``most``."""
    most = max(MIN_ROWS, most)
    powers = [2**n for n in range(1, most.bit_length())]
    below = [size for power in powers for size in (power, power * 3 // 2) if size < most]
    return [*below, most]


def full_engine(
    bundle: Bundle, rows: int, report: Callable[[Report], None] = lambda _: None
) -> Engine:
    """Return an engine without a thread that advances ``rows`` unguided images a tick."""
    info = bundle.info
    engine = Engine(bundle, EngineSettings(slots=rows, rows_per_tick=rows), report)
    for image in range(rows):
        request = ImageRequest(
            job_id="calibration",
            image=image,
            prompt="0" if info.prompt == "class" else "",
            seed=0,
            sampler="euler",
            schedule="karras",
            steps=MAX_STEPS,
            guidance_scale=1.0,
            width=info.width,
            height=info.height,
        )
        engine.submit(request)
    return engine


def ticks_s(engine: Engine, count: int) -> float:
    """Return the seconds of ``count`` ticks."""
    started = perf_counter()
    for _ in range(count):
        engine.tick()
    return perf_counter() - started
