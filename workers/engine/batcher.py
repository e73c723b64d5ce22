"""Which images take part in the next forward pass. Holds no tensors."""

import heapq
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

MIN_ROWS = 2
"""A guided image's forward rows: no bound may be lower."""


@dataclass
class Candidate:
    """An image in a slot, as the batcher sees it."""

    key: Hashable
    group: Hashable  # images of one latent shape can share a forward pass
    rank: int  # priority class, 0 first
    arrived: float  # the batcher's clock on admission
    passes: int  # forward rows an evaluation costs: 2 when guided
    remaining: int  # evaluations left
    started: bool = False  # has had its first evaluation here
    tenant: str = ""
    weight: float = 1.0  # of its tenant

    @property
    def work(self) -> int:
        """Forward rows left."""
        return self.passes * self.remaining


@dataclass
class Batcher:
    """Orders images by class, tenants in turn, first evaluations, shortest remaining work.

    Tenants take turns by rows over weight, so that one with many images here does not hold up one
    with few. The clock counts forward rows served. A waiting image gains ``ageing`` rows of
    preference for every row served, so that a long one does not wait forever behind short ones. A
    class is owed ``class_share`` of the rows that higher ones get, and one of its images goes first
    once an evaluation of it is owed.
    """

    rows_per_tick: int  # the bound on forward rows
    ageing: float = 0.25
    class_share: float = 0.05
    clock: float = 0.0
    owed: dict[int, float] = field(default_factory=dict)  # rank → rows, for the classes here
    turns: dict[str, float] = field(default_factory=dict)  # tenant → rows over weight, likewise

    def choose(self, candidates: Iterable[Candidate]) -> Sequence[Candidate]:
        """Return the images of the next tick: of one group, within the bound, at least one."""
        waiting = sorted(candidates, key=self._urgency)
        if not waiting:
            return ()
        last = min((self.turns[c.tenant] for c in waiting if c.tenant in self.turns), default=0.0)
        self.turns = {c.tenant: self.turns.get(c.tenant, last) for c in waiting}
        if len(self.turns) > 1:
            classes = groupby(waiting, key=lambda c: c.rank)
            waiting = [each for _, members in classes for each in self._in_turn(members)]
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

    def _in_turn(self, waiting: Iterable[Candidate]) -> Iterator[Candidate]:
        """Yield a class' images, each of the tenant that is furthest behind."""
        lanes: dict[str, deque[Candidate]] = {}
        for candidate in waiting:
            lanes.setdefault(candidate.tenant, deque()).append(candidate)
        turns = [(self.turns[tenant], tenant) for tenant in lanes]
        heapq.heapify(turns)
        while turns:
            at, tenant = turns[0]
            candidate = lanes[tenant].popleft()
            yield candidate
            if lanes[tenant]:
                after = at + candidate.passes / candidate.weight
                heapq.heapreplace(turns, (after, tenant))
            else:
                heapq.heappop(turns)

    def _firsts(self, waiting: Sequence[Candidate]) -> Iterable[Candidate]:
        """Return the first image of each class below the highest."""
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
            if candidate.tenant in self.turns:
                self.turns[candidate.tenant] += candidate.passes / candidate.weight
            for rank, owed in self.owed.items():
                if rank > candidate.rank:
                    self.owed[rank] = owed + self.class_share * candidate.passes
                elif rank == candidate.rank:
                    self.owed[rank] = max(0.0, owed - candidate.passes)

    def lower(self, below: int) -> bool:
        """Halve the bound until the rows that did not fit exceed it; return False if it stays."""
        before = self.rows_per_tick
        while self.rows_per_tick >= below and self.rows_per_tick > MIN_ROWS:
            self.rows_per_tick = max(MIN_ROWS, self.rows_per_tick // 2)
        return self.rows_per_tick < before

    def grow(self, most: int) -> None:
        """Double the bound, up to ``most``."""
        self.rows_per_tick = min(most, 2 * self.rows_per_tick)
