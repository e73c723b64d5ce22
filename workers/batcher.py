"""Which pictures take part in the next forward pass. Holds no tensors."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass

MIN_ROWS = 2
"""A guided picture's forward rows: no bound may be lower."""


@dataclass
class Candidate:
    """A picture in a slot, as the batcher sees it."""

    key: Hashable
    group: Hashable  # pictures of one latent shape can share a forward pass
    rank: int  # priority class, 0 first
    arrived: float  # the batcher's clock when the picture came
    passes: int  # forward rows an evaluation costs: 2 when guided
    remaining: int  # evaluations left
    started: bool = False  # has had its first evaluation here

    @property
    def work(self) -> int:
        """Forward rows left."""
        return self.passes * self.remaining


@dataclass
class Batcher:
    """Orders pictures: class, then first evaluations, then shortest remaining work with ageing.

    The clock counts forward rows served. A picture that waits gains ``ageing`` rows of preference
    for every row served meanwhile, so that a long one is not passed by short ones for ever.
    """

    rows_per_tick: int  # the bound on forward rows
    ageing: float = 0.25
    clock: float = 0.0

    def choose(self, candidates: Iterable[Candidate]) -> Sequence[Candidate]:
        """Return the pictures of the next tick: of one group, within the bound, at least one."""
        waiting = sorted(candidates, key=self._urgency)
        if not waiting:
            return ()
        chosen: list[Candidate] = []
        room = self.rows_per_tick
        for candidate in waiting:
            if candidate.group != waiting[0].group:
                continue
            if candidate.passes <= room or not chosen:
                chosen.append(candidate)
                room -= candidate.passes
            if room <= 0:
                break
        return chosen

    def _urgency(self, candidate: Candidate) -> tuple[int, bool, float]:
        waited = self.clock - candidate.arrived
        return candidate.rank, candidate.started, candidate.work - self.ageing * waited

    def served(self, chosen: Iterable[Candidate]) -> None:
        """Account for a finished tick."""
        for candidate in chosen:
            candidate.remaining -= 1
            candidate.started = True
            self.clock += candidate.passes

    def lower(self, below: int) -> bool:
        """Halve the bound until it is below the rows that did not fit; False when it cannot be."""
        before = self.rows_per_tick
        while self.rows_per_tick >= below and self.rows_per_tick > MIN_ROWS:
            self.rows_per_tick = max(MIN_ROWS, self.rows_per_tick // 2)
        return self.rows_per_tick < before
