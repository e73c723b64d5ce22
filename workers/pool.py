"""Which of a worker's models are loaded, where not all of them fit.

A model for which jobs wait is loaded in the place of others: those without work first, then those
that have had their turn. A turn is several times as long as loading takes, so that little time goes
to loading, and bounded, so that no model waits for ever.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

TURN_S = 2.0
LOADS = 9
"""A turn is as long as so many loads, so that a tenth of the time goes to loading."""


@dataclass(frozen=True)
class ModelState:
    """A model of the worker, as the choice sees it."""

    name: str
    bytes: int  # of its weights
    load_s: float
    pending: int  # jobs that wait for it at any worker
    waiting_s: float  # for how long there have been such while it was not loaded here
    left_s: float  # of this worker's time for its jobs here and those that wait
    busy: bool  # it has jobs here
    loaded_s: float | None  # for how long it has been loaded; None: it is not
    idle_s: float  # since it last had work

    @property
    def turn_s(self) -> float:
        """How long it stays while it has work and another one waits."""
        return max(TURN_S, LOADS * self.load_s)

    @property
    def may_leave(self) -> bool:
        """Whether it makes room for one that waits.

        One that would be done by the time that it were back may finish, for another turn at most.
        """
        if self.loaded_s is None:
            return False
        if not (self.busy or self.pending):
            return True
        most_s = 2 * self.turn_s if self.left_s <= self.load_s else self.turn_s
        return self.loaded_s >= most_s


@dataclass(frozen=True)
class Change:
    """A model to load, and those that make room for it."""

    load: str
    unload: Sequence[str]


def next_change(models: Sequence[ModelState], memory: int) -> Change | None:
    """Return what to load within so many bytes, None while nothing waits or nothing may leave."""
    waiting = [model for model in models if model.loaded_s is None and model.pending]
    if not waiting:
        return None
    wanted = max(waiting, key=lambda model: model.waiting_s)
    room = memory - sum(model.bytes for model in models if model.loaded_s is not None)
    leaving = []
    for model in _in_order(models):
        if room >= wanted.bytes:
            break
        leaving.append(model.name)
        room += model.bytes
    return Change(wanted.name, leaving) if room >= wanted.bytes else None


def _in_order(models: Iterable[ModelState]) -> Sequence[ModelState]:
    """Return those that may leave: the least recently used first, then the longest loaded."""
    leaving = [model for model in models if model.may_leave]
    return sorted(leaving, key=lambda m: (m.busy or m.pending > 0, -m.idle_s, -(m.loaded_s or 0)))
