"""Which pictures take part in the next forward pass. Holds no tensors."""

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field

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
    for every row served meanwhile, so that a long one is not passed by short ones for ever. A class
    gains ``class_share`` of the rows that higher ones get, and one of its pictures goes first when
    that is what it takes.
    """

    rows_per_tick: int  # the bound on forward rows
    ageing: float = 0.25
    class_share: float = 0.05
    clock: float = 0.0
    owed: dict[int, float] = field(default_factory=dict)  # rank → rows, for the classes here

    def choose(self, candidates: Iterable[Candidate]) -> Sequence[Candidate]:
        """Return the pictures of the next tick: of one group, within the bound, at least one."""
        waiting = sorted(candidates, key=self._urgency)
        if not waiting:
            return ()
        self.owed = {c.rank: self.owed.get(c.rank, 0.0) for c in waiting}
        if len(self.owed) > 1:
            due = [c for c in self._firsts(waiting) if c.passes <= self.owed[c.rank]][:1]
            waiting = [*due, *(c for c in waiting if c not in due)]
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

    def _firsts(self, waiting: Sequence[Candidate]) -> Iterable[Candidate]:
        """Return the first picture of each class below the highest."""
        firsts = {candidate.rank: candidate for candidate in reversed(waiting)}
        return (firsts[rank] for rank in sorted(firsts)[1:])

    def _urgency(self, candidate: Candidate) -> tuple[int, bool, float]:
        waited = self.clock - candidate.arrived
        return candidate.rank, candidate.started, candidate.work - self.ageing * waited

    def served(self, chosen: Iterable[Candidate]) -> None:
        """Account for a finished tick."""
        for candidate in chosen:
            candidate.remaining -= 1
            candidate.started = True
            self.clock += candidate.passes
            for rank, owed in self.owed.items():
                if rank > candidate.rank:
                    self.owed[rank] = owed + self.class_share * candidate.passes
                elif rank == candidate.rank:
                    self.owed[rank] = max(0.0, owed - candidate.passes)

    def lower(self, below: int) -> bool:
        """Halve the bound until it is below the rows that did not fit; False when it cannot be."""
        before = self.rows_per_tick
        while self.rows_per_tick >= below and self.rows_per_tick > MIN_ROWS:
            self.rows_per_tick = max(MIN_ROWS, self.rows_per_tick // 2)
        return self.rows_per_tick < before
