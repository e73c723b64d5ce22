"""What the engine has done since its start, and its throughput over the last busy seconds."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from workers.engine.batcher import Candidate
from workers.engine.forward import Evaluated

WINDOW_S = 5.0
SETTLED_S = 1.0
"""Busy time with full batches after which it says more of the speed than the calibration does."""


class Throughput:
    """An amount per second over a sliding window of busy time; idle time does not count."""

    def __init__(self) -> None:
        self._window: deque[tuple[float, float]] = deque()
        self._amount = 0.0
        self.seconds = 0.0  # busy time in the window

    def add(self, seconds: float, amount: float) -> None:
        """Account for some busy time."""
        self._window.append((seconds, amount))
        self.seconds += seconds
        self._amount += amount
        while self.seconds > WINDOW_S and len(self._window) > 1:
            old_s, old_amount = self._window.popleft()
            self.seconds -= old_s
            self._amount -= old_amount

    @property
    def per_s(self) -> float:
        """The amount per busy second, 0 before the first."""
        return self._amount / self.seconds if self.seconds > 0 else 0.0


@dataclass
class EngineStats:
    """Counters since the start; seconds are of the engine thread."""

    units_per_s: float = 0.0  # with full batches: calibrated, then over the last seconds of them
    rows_per_s: float = 0.0  # while busy, over the last seconds
    ticks: int = 0
    ticked_at: float = 0.0  # perf_counter() at the end of the last tick
    rows: int = 0  # forward rows, padding left out
    evaluations: int = 0  # images advanced
    model_s: float = 0.0
    step_s: float = 0.0
    overhead_s: float = 0.0
    slots_used: int = 0
    passes_used: int = 0  # forward rows that one evaluation of every slot takes
    remaining_rows: int = 0
    _rows: Throughput = field(default_factory=Throughput)
    _full_units: Throughput = field(default_factory=Throughput)

    def ticked(self, seconds: float, passes: Sequence[Evaluated], full: bool) -> None:
        """Account for a tick; ``full`` means that more work would not have made it larger."""
        rows = sum(each.rows for each in passes)
        model_s, step_s = sum(each.model_s for each in passes), sum(each.step_s for each in passes)
        self.ticks += 1
        self.ticked_at = perf_counter()
        self.rows += rows
        self.evaluations += sum(len(each.slots) for each in passes)
        self.model_s += model_s
        self.step_s += step_s
        self.overhead_s += max(0.0, seconds - model_s - step_s)  # a counter must not fall
        self._rows.add(seconds, rows)
        self.rows_per_s = self._rows.per_s
        if full:
            self._full_units.add(seconds, sum(s.units for each in passes for s in each.slots))
            if self._full_units.seconds >= SETTLED_S:
                self.units_per_s = self._full_units.per_s

    def occupied(self, candidates: Iterable[Candidate]) -> None:
        """Note which images have slots."""
        self.slots_used = self.passes_used = self.remaining_rows = 0
        for candidate in candidates:
            self.slots_used += 1
            self.passes_used += candidate.passes
            self.remaining_rows += candidate.work
