"""The order of claims; ``lua/shared/order.lua`` says what it means and does the same in Redis."""

import math
from bisect import insort
from collections.abc import Callable
from dataclasses import dataclass, field

RANKS = range(3)
TIE = 1e-6  # turns that differ by less come at once


@dataclass(eq=False)
class Waiting:
    """A job that waits or runs."""

    id: str
    tenant: str
    rank: int
    remaining: float  # units
    due: float
    seq: int
    fresh: bool = True  # False once interrupted: it goes before its tenant's others
    served_as: int = 0  # the class that its claim counted for

    @property
    def order(self) -> tuple[bool, float, int]:
        """Its place among its tenant's."""
        return self.fresh, self.due, self.seq


@dataclass
class _Class:
    """One class of a model: its tenants' lanes, and how far each has been served."""

    lanes: dict[str, list[Waiting]] = field(default_factory=dict)
    virtual_of: dict[str, float] = field(default_factory=dict)  # units claimed over weight
    virtual: float = 0.0
    credit: float = 0.0

    def virtual_time(self, tenant: str, *, fresh: bool) -> float:
        own = self.virtual_of.get(tenant, self.virtual)
        return max(own, self.virtual) if fresh and tenant not in self.lanes else own

    def by_turn(self) -> list[str]:
        return sorted(self.lanes, key=lambda tenant: (self.virtual_of[tenant], tenant))

    @property
    def units(self) -> float:
        return sum(job.remaining for lane in self.lanes.values() for job in lane)


class FairOrder:
    """A model's waiting jobs. ``weight`` returns a tenant's."""

    def __init__(self, weight: Callable[[str], float]) -> None:
        self._weight = weight
        self._classes = tuple(_Class() for _ in RANKS)

    def enqueue(self, job: Waiting) -> None:
        """Add a waiting job."""
        mine, tenant = self._classes[job.rank], job.tenant
        mine.virtual_of[tenant] = mine.virtual_time(tenant, fresh=job.fresh)
        insort(mine.lanes.setdefault(tenant, []), job, key=lambda each: each.order)

    def dequeue(self, job: Waiting) -> None:
        """Remove a waiting job."""
        mine, tenant = self._classes[job.rank], job.tenant
        mine.lanes[tenant].remove(job)
        if not mine.lanes[tenant]:
            del mine.lanes[tenant]
        if not mine.lanes:
            mine.credit = 0.0

    def claim(self, share: float, tenant: str | None = None) -> Waiting | None:
        """Take the next job, or that of a tenant, out of the queue."""
        if (found := self._choose() if tenant is None else self._first_of(tenant)) is None:
            return None
        job, served_as = found
        self._serve(job, served_as, share)
        self.dequeue(job)
        return job

    def _choose(self) -> tuple[Waiting, int] | None:
        best: tuple[Waiting, int] | None = None
        for rank in RANKS:
            mine = self._classes[rank]
            job = next((job for tenant in mine.by_turn() for job in mine.lanes[tenant]), None)
            if job is None:
                mine.credit = 0.0
            elif best is None:
                best = job, rank
            elif job.remaining <= mine.credit:
                return job, best[1]
        return best

    def _first_of(self, tenant: str) -> tuple[Waiting, int] | None:
        for rank in RANKS:
            if lane := self._classes[rank].lanes.get(tenant):
                return lane[0], rank
        return None

    def _serve(self, job: Waiting, served_as: int, share: float) -> None:
        rank = job.rank
        mine = self._classes[rank]
        mine.virtual = max(mine.virtual, mine.virtual_of[job.tenant])
        mine.virtual_of = {
            tenant: at
            for tenant, at in mine.virtual_of.items()
            if tenant in mine.lanes or at > mine.virtual  # idling earns nothing
        }
        self._charge(job, job.remaining)
        job.served_as = served_as
        if served_as < rank:
            mine.credit -= job.remaining
        for lower in RANKS[served_as + 1 :]:
            if lower != rank and self._classes[lower].lanes:
                self._classes[lower].credit += share * job.remaining

    def give_back(self, job: Waiting) -> None:
        """Take back what a job that leaves its worker has not used."""
        rank = job.rank
        self._charge(job, -job.remaining)
        if job.served_as < rank:
            self._classes[rank].credit += job.remaining

    def _charge(self, job: Waiting, units: float) -> None:
        mine, tenant = self._classes[job.rank], job.tenant
        own = mine.virtual_of.get(tenant, mine.virtual)
        mine.virtual_of[tenant] = own + units / self._weight(tenant)

    def ahead(self, job: Waiting) -> tuple[int, float]:
        """Return how many jobs and units are before a job, waiting here or about to."""
        rank, tenant = job.rank, job.tenant
        mine = self._classes[rank]
        above = self._classes[:rank]
        jobs = sum(len(lane) for each in above for lane in each.lanes.values())
        units = sum(each.units for each in above)
        lane = mine.lanes.get(tenant, [])
        before = sum(other.order < job.order for other in lane)
        own = before * _mean(lane)
        turn = mine.virtual_time(tenant, fresh=job.fresh) + own / self._weight(tenant)
        for name, other in mine.lanes.items():
            if name == tenant or mine.virtual_of[name] > turn + TIE:
                continue
            turns = (turn - mine.virtual_of[name]) * self._weight(name) / _mean(other)
            before_mine = name < tenant  # as ties are broken
            turns = math.floor(turns + TIE) + 1 if before_mine else math.ceil(turns - TIE)
            served = min(len(other), turns)
            jobs += served
            units += served * _mean(other)
        return jobs + before, units + own


def _mean(lane: list[Waiting]) -> float:
    return max(sum(job.remaining for job in lane) / len(lane), 1e-9) if lane else 0.0
