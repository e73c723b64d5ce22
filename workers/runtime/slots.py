"""The engine's slots, and which gets a free one: an image of a job here, or a claim."""

import asyncio
from collections import deque
from collections.abc import Mapping

from workers.runtime.active_jobs import Neighbours
from workers.runtime.run import Run


class Slots:
    """Free slots on one event loop, given out by class and then by age.

    A job here is older than any that can be claimed, so its waiting images go before a claim,
    except that a claim may bring a job of a higher class than theirs, or of a tenant that a job was
    preempted for. One claim waits at a time.
    """

    def __init__(self, count: int, runs: Mapping[str, Run], neighbours: Neighbours) -> None:
        self.free = count
        self.claims = 0  # answers that want to claim
        self.owed: deque[str] = deque()  # tenants that the next slots are for, by a claim
        self._runs = runs  # in the order of their claims
        self._neighbours = neighbours
        self._changed = asyncio.Event()
        self._closed = False

    def first(self) -> Run | None:
        """Return the job whose image is next, None if no image waits for a slot."""
        waiting = [run for run in self._runs.values() if run.waiting and run.leaving is None]
        return min(waiting, key=lambda run: run.claim.rank, default=None)

    @property
    def above(self) -> int | None:
        """The rank of the image that is next: only jobs of higher classes may be claimed now."""
        run = self.first()
        return None if run is None else run.claim.rank

    @property
    def spare(self) -> bool:
        """Whether there is a free slot that no tenant is owed."""
        return self.free > len(self.owed)

    def image_next(self) -> bool:
        """Return whether the next slot is for an image here, without asking for a claim."""
        return self.above is not None and not (self.claims and self._claimable())

    def _claimable(self) -> bool:
        """Return whether a claim may bring something: no job runs alone, a class is above."""
        return self.above != 0 and not self._neighbours.alone

    async def acquire(self) -> bool:
        """Take a slot for a claim, waiting for one; return False once the slots are closed."""
        while not self._closed:
            if self.free > 0 and (self.owed or self._claimable()):
                self.free -= 1
                return True
            self._changed.clear()
            await self._changed.wait()
        return False

    def release(self, count: int = 1) -> None:
        """Give slots back."""
        self.free += count
        self.notify()

    def notify(self) -> None:
        """Have the claim that waits look again."""
        self._changed.set()

    def close(self) -> None:
        """Give out no slots for claims until :meth:`reopen`."""
        self._closed = True
        self.notify()

    def reopen(self) -> None:
        """Give out slots for claims again."""
        self._closed = False
